"""Batches of every layout, and what transformers alone makes of them: row by row, full logits, nothing shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy, logsigmoid

from rung.methods.adapted import Adapted
from rung.models.families import Family
from rung.types import IGNORED, Tokens

LOSS_BOUND = 1e-12
GRADIENT_BOUND = 1e-10

Gradients = Mapping[str, torch.Tensor]


def draw(seed: int, count: int) -> tuple[int, ...]:
    """Random token ids that are nothing special to any family."""
    return tuple(torch.randint(5, 61, (count,), generator=torch.Generator().manual_seed(seed)).tolist())


def answered(prompt: tuple[int, ...], answer: tuple[int, ...]) -> Tokens:
    """A prompt that is read and an answer that is learned."""
    return Tokens(prompt + answer, (IGNORED,) * len(prompt) + answer)


def apart() -> list[Tokens]:
    """Rows that begin differently."""
    return [answered((5 + at, *draw(at, length)), draw(10 + at, 2)) for at, length in enumerate((0, 7, 7, 29))]


def template() -> list[Tokens]:
    """One instruction before texts of mixed length."""
    return [answered(draw(0, 24) + draw(1 + at, length), draw(9 + at, 2)) for at, length in enumerate((3, 7, 7, 1, 12))]


def few_shot() -> list[Tokens]:
    """A block of solved examples, longer than what one attention mask covers, then two instructions, then the texts."""
    beginnings = [draw(0, 200) + draw(1, 9), draw(0, 200) + draw(2, 12)]
    return [
        answered(beginnings[at % 2] + draw(3 + at, length), draw(20 + at, 2))
        for at, length in enumerate((5, 9, 2, 17, 9))
    ]


def preference() -> list[Tokens]:
    """A chosen and a rejected answer to each prompt, under one instruction."""
    prompts = [draw(0, 10) + draw(1 + at, length) for at, length in enumerate((5, 2, 21))]
    return [answered(prompt, draw(30 + 7 * length + prompt[-1], length)) for prompt in prompts for length in (3, 6)]


def group() -> list[Tokens]:
    """Samples for one prompt; two of them are the same."""
    samples = [draw(1 + at, length) for at, length in enumerate((1, 4, 6, 9, 6))]
    return [answered(draw(0, 12), sample) for sample in [*samples, samples[2]]]


def repeated() -> list[Tokens]:
    """One row three times, once under another mask, and a row that is the beginning of it."""
    ids = draw(0, 15)
    half = Tokens(ids, (IGNORED,) * 4 + ids[4:9] + (IGNORED,) * 6)
    return [answered(ids[:12], ids[12:]), half, answered(ids[:12], ids[12:]), answered(ids[:5], ids[5:9])]


def long() -> list[Tokens]:
    """More supervised positions than one chunk of the output layer takes, shared beginnings among them."""
    return [answered((7,), draw(0, 20) + draw(1 + at, length)) for at, length in enumerate((220, 190, 205))]


def long_block() -> list[Tokens]:
    """Rows and a common beginning too long for dense attention, beside short ones."""
    rows = [answered(draw(0, 270) + draw(1 + at, length), draw(9 + at, 2)) for at, length in enumerate((5, 9, 280))]
    return [*rows, answered((7, *draw(8, 300)), draw(20, 2)), answered((6, *draw(9, 4)), draw(21, 2))]


def deep() -> list[Tokens]:
    """A beginning of more keys than dense attention takes, and one row that leaves it half way."""
    rows = [answered(draw(0, 1030) + draw(1 + at, length), draw(9 + at, 2)) for at, length in enumerate((5, 9))]
    return [*rows, answered(draw(0, 1030)[:500] + draw(5, 30), draw(20, 2))]


LAYOUTS: dict[str, Callable[[], list[Tokens]]] = {
    made.__name__: made for made in (apart, template, few_shot, preference, group, repeated, long, long_block, deep)
}


def lengthened(tiny: ModuleType, name: str) -> Family:
    """The tiny model of a family with 2048 positions."""
    kind, config, model, settings = tiny.CHOICES[name]
    longer = {"n_positions" if name == "gpt2" else "max_position_embeddings": 2048}
    tiny.CHOICES[f"{name}_long"] = (kind, config, model, settings | longer)
    return tiny.build(f"{name}_long")


def sizes(rows: Sequence[Tokens], shift: int) -> list[int]:
    """Supervised positions of each row."""
    return [sum(label != IGNORED for label in (row.labels or ())[shift:]) for row in rows]


def loss_of(layout: str, logprobs: Sequence[torch.Tensor]) -> torch.Tensor:
    """What is learned from a layout: per row the log-probabilities of its labels, to one number."""
    sums = torch.stack([row.sum() for row in logprobs])
    if layout == "preference":
        return -logsigmoid(0.3 * (sums[0::2] - sums[1::2])).mean()
    if layout == "group":
        advantages = torch.linspace(-1, 1.5, len(sums), dtype=sums.dtype)
        return -(advantages * sums).mean()
    return -torch.cat(list(logprobs)).mean()


def product_loss(adapted: Adapted, layout: str, rows: Sequence[Tokens]) -> torch.Tensor:
    """The loss as the product computes it: all rows at once."""
    shift = int(adapted.family.kind == "decoder")
    return loss_of(layout, adapted.logprobs(rows).split(sizes(rows, shift)))


def plain_loss(
    module: Any,
    kind: str,
    layout: str,
    rows: Sequence[Tokens],
    inputs: Callable[[Tokens], dict[str, Any]] | None = None,
) -> torch.Tensor:
    """The loss as transformers computes it, row by row.

    Args:
        module: A model with its output layer (PEFT's wrapper as well).
        kind: `decoder` or `encoder`.
        layout: Name of the layout.
        rows: Its rows.
        inputs: What the model is given for a row; its token ids by default. Virtual tokens come first.
    """
    found = []
    for row in rows:
        assert row.labels is not None
        given = {"input_ids": torch.tensor([row.input_ids])} if inputs is None else inputs(row)
        logits = module(**given).logits[0, -len(row) :]
        labels = torch.tensor(row.labels)
        if kind == "decoder":
            logits, labels = logits[:-1], labels[1:]
        found.append(-cross_entropy(logits[labels != IGNORED], labels[labels != IGNORED], reduction="none"))
    return loss_of(layout, found)


def own_attention(family: Family) -> None:
    """Give the model back to transformers."""
    family.module.set_attn_implementation("sdpa")


def require_equal(found: tuple[torch.Tensor, Gradients], expected: tuple[torch.Tensor, Gradients]) -> None:
    """Loss to 1e-12 and every gradient to 1e-10, relative.

    A gradient that is zero in exact arithmetic (a bias on all keys of an attention) is held to a thousandth of the
    largest one's norm instead of to its own rounding error.
    """
    torch.testing.assert_close(found[0], expected[0], rtol=LOSS_BOUND, atol=LOSS_BOUND)
    assert set(found[1]) == set(expected[1])
    floor = 1e-3 * max(float(value.norm()) for value in expected[1].values())
    assert floor > 0
    for name, value in expected[1].items():
        error = float((found[1][name] - value).norm()) / max(float(value.norm()), floor)
        assert error < GRADIENT_BOUND, f"{name}: {error}"


def padded_loss(module: Any, rows: Sequence[Tokens]) -> torch.Tensor:
    """Mean loss of a right-padded batch through transformers' whole decoder, the way a plain loop computes it."""
    longest = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for at, row in enumerate(rows):
        assert row.labels is not None
        ids[at, : len(row)], labels[at, : len(row)] = torch.tensor(row.input_ids), torch.tensor(row.labels)
        mask[at, : len(row)] = 1
    logits = module(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def in_peft(family: Family, settings: Mapping[str, Any], weights: Gradients) -> tuple[Any, dict[str, torch.Tensor]]:
    """PEFT's own LoRA on a model of the same family, with the weights given; and its parameters by our names."""
    conv1d = family.module.config.model_type == "gpt2"
    given: dict[str, Any] = {"lora_alpha": 32, "fan_in_fan_out": conv1d, **settings}
    model = get_peft_model(family.module, LoraConfig(**given, target_modules=list(family.linears())))
    model.to(next(iter(weights.values())).dtype)
    parameters = {
        name.removeprefix("base_model.model.").replace(".default.", "."): value
        for name, value in model.named_parameters()
        if value.requires_grad
    }
    assert set(parameters) == set(weights)
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(weights[name])
    own_attention(family)
    return model, parameters


def randomise(parameters: Gradients, spread: float) -> None:
    """Weights away from their start: at LoRA's own start half of the gradients are zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in parameters.values():
            value.copy_(torch.randn(value.shape, generator=generator) * spread)
