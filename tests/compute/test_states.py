"""Flat and shared, padded, and one row at a time through transformers: the same states, losses and gradients."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest
import torch

from rung.compute.head import plain_logprobs
from rung.compute.states import Additions, padded_states, states, supervised
from rung.methods.adapted import Adapted
from rung.types import Tokens

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
DECODERS = ["llama", "gpt2", "qwen2", "qwen3", "mistral", "gemma", "phi"]
ENCODERS = ["bert", "roberta", "distilbert", "modernbert", "electra", "albert"]
PADDED = ["gemma2", "mpnet", "deberta_v2"]
LENGTHS = (3, 7, 7, 1, 12, 30)


def everywhere(rows: list[Tokens]) -> list[range]:
    return [range(len(row)) for row in rows]


@pytest.mark.parametrize("name", DECODERS + ENCODERS)
@pytest.mark.parametrize("layout", ["shared", "apart", "padded"])
def test_states_and_all_gradients_equal_the_plain_model(tiny: ModuleType, name: str, layout: str) -> None:
    family = tiny.build(name)
    assert family.flat
    rows = tiny.sequences(LENGTHS, shared=9)
    plain = torch.cat(tiny.plain_states(family, rows))
    weights = torch.linspace(-1, 1, plain.numel(), dtype=plain.dtype).view_as(plain).sin()
    (plain * weights).sum().backward()
    expected = tiny.gradients(family.module)
    run = padded_states if layout == "padded" else states
    found = run(family, rows, everywhere(rows), Additions(share=layout == "shared"))
    torch.testing.assert_close(found, plain, **CLOSE)
    (found * weights).sum().backward()
    gradients = tiny.gradients(family.module)
    assert set(expected) == set(gradients)
    scale = max(float(value.abs().max()) for value in expected.values())
    for part, value in expected.items():
        torch.testing.assert_close(gradients[part], value, rtol=0.0, atol=1e-10 * scale)


@pytest.mark.parametrize("name", DECODERS + ENCODERS + PADDED)
def test_losses_equal_the_plain_models_logits(tiny: ModuleType, name: str) -> None:
    family = tiny.build(name)
    assert family.flat == (name not in PADDED)
    rows = tiny.sequences(LENGTHS, shared=9, labelled=True)
    shift = 1 if family.kind == "decoder" else 0
    found = -Adapted(family).logprobs(rows)
    family.module.set_attn_implementation("sdpa" if family.module._supports_sdpa else "eager")
    expected = []
    for row in rows:
        logits = family.module(input_ids=torch.tensor([row.input_ids])).logits[0].double()
        logits = logits[:-1] if shift else logits
        labels = torch.tensor(row.labels[shift:])
        expected.append(torch.nn.functional.cross_entropy(logits, labels, reduction="none")[labels != -100])
    # Eager attention, which the padded families keep, takes its softmax in fp32.
    close = CLOSE if family.flat else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(found, torch.cat(expected), **close)


@pytest.mark.parametrize("name", ["mistral_short_window", "modernbert"])
@pytest.mark.parametrize("longest", [3, 40])
def test_rows_longer_than_the_window_run_padded_and_right(tiny: ModuleType, name: str, longest: int) -> None:
    family = tiny.build(name)
    assert family.window in {6, 8}
    rows = tiny.sequences((1, 2, longest), shared=2)
    found = states(family, rows, everywhere(rows))
    torch.testing.assert_close(found, torch.cat(tiny.plain_states(family, rows)), **CLOSE)
    if longest > family.window:
        wide = states(replace(family, window=None), rows, everywhere(rows))
        assert (wide - found).abs().max() > 1e-3, "the window would have made no difference"


@pytest.mark.parametrize("name", ["llama", "bert", "roberta"])
def test_positions_asked_for_come_in_the_order_asked(tiny: ModuleType, name: str) -> None:
    family = tiny.build(name)
    rows = tiny.sequences((4, 6, 2), shared=5)
    wanted = [[3, 1], [], [6, 0, 6]]
    plain = tiny.plain_states(family, rows)
    expected = torch.cat([plain[row][at] for row, at in enumerate(wanted)])
    torch.testing.assert_close(states(family, rows, wanted), expected, **CLOSE)
    torch.testing.assert_close(padded_states(family, rows, wanted), expected, **CLOSE)


@pytest.mark.parametrize("layout", ["flat", "padded"])
def test_segments_reach_the_model(tiny: ModuleType, layout: str) -> None:
    family = tiny.build("bert")
    rows = [replace(row, token_type_ids=(0, 0) + (1,) * (len(row) - 2)) for row in tiny.sequences((3, 5), shared=2)]
    expected = [
        family.body(
            input_ids=torch.tensor([row.input_ids]), token_type_ids=torch.tensor([row.token_type_ids])
        ).last_hidden_state[0]
        for row in rows
    ]
    run = states if layout == "flat" else padded_states
    torch.testing.assert_close(run(family, rows, everywhere(rows)), torch.cat(expected), **CLOSE)


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "modernbert"])
def test_packed_rows_never_meet(tiny: ModuleType, name: str) -> None:
    family = tiny.build(name)
    held: list[torch.Tensor] = []

    def embed(ids: torch.Tensor) -> torch.Tensor:
        held.append(family.embedding(ids).detach().requires_grad_())
        return held[-1]

    first, second = Tokens((7, 8, 9, 10)), Tokens((11, 12, 13))
    states(family, [first, second], [range(4), []], Additions(embed=embed)).pow(2).sum().backward()
    own = [at for at, row in enumerate(held[0].grad) if bool(row.any())]
    assert len(own) == 4, "gradient reaches all tokens of the row that was asked for, and no other"


def test_supervised_positions_shift_for_causal_models_only() -> None:
    rows = [Tokens((5, 6, 7), (5, -100, 7)), Tokens((8, 9), (-100, 9))]
    assert supervised(rows, 1) == ([[1], [0]], [7, 9])
    assert supervised(rows, 0) == ([[0, 2], [1]], [5, 7, 9])


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_plain_logprobs_apply_the_models_own_softcap(tiny: ModuleType, name: str) -> None:
    family = tiny.build(name)
    rows = tiny.sequences((4,), shared=2)
    hidden = states(family, rows, everywhere(rows))
    labels = torch.tensor(rows[0].input_ids)
    logits = family.module(input_ids=torch.tensor([rows[0].input_ids])).logits[0].double()
    expected = logits.log_softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
    found = plain_logprobs(hidden, family.output.weight, labels, family.output_bias, family.softcap)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
