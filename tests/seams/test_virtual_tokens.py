"""Soft prompts and learned prefixes: what stands before every sequence is computed once, and trained alone."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from rung.compute.states import Additions, states
from rung.engine.sources import DatasetSource
from rung.methods.adapted import Adapted
from rung.methods.soft_prompt import SoftPrompt
from rung.objectives.causal_lm import CausalLM
from rung.types import Row, Tokens

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
DECODERS = ["llama", "gpt2", "qwen3", "gemma", "mistral_short_window"]


def everywhere(rows: list[Tokens]) -> list[range]:
    return [range(len(row)) for row in rows]


@pytest.mark.parametrize("name", [*DECODERS, "bert", "mpnet"])
@pytest.mark.parametrize("count", [2, 6])
def test_a_soft_prompt_equals_embeddings_put_into_each_row(tiny: ModuleType, name: str, count: int) -> None:
    adapted = SoftPrompt(num_virtual_tokens=count).attach(tiny.build(name), None, seed=3)
    adapted.prompt.double()
    adapted.own["prompt_embeddings"] = adapted.prompt.weight
    first = 1 if adapted.family.kind == "encoder" else 0  # [CLS] stays the first
    family, weight = adapted.family, adapted.own["prompt_embeddings"]
    rows = tiny.sequences((3, 7, 7, 1), shared=3)
    found = adapted.states(rows, everywhere(rows))
    family.module.set_attn_implementation("sdpa" if family.module._supports_sdpa else "eager")
    outputs = []
    for row in rows:
        words = family.embedding(torch.tensor(row.input_ids))
        together = torch.cat([words[:first], weight, words[first:]]).unsqueeze(0)
        hidden = family.body(inputs_embeds=together).last_hidden_state[0]
        outputs += [hidden[:first], hidden[first + count :]]
    plain = torch.cat(outputs)
    torch.testing.assert_close(found, plain, **CLOSE)
    push = torch.linspace(-1, 1, plain.numel(), dtype=plain.dtype).view_as(plain).sin()
    (mine,) = torch.autograd.grad((found * push).sum(), [weight])
    (theirs,) = torch.autograd.grad((plain * push).sum(), [weight])
    assert theirs.abs().max() > 1e-3
    torch.testing.assert_close(mine, theirs, **CLOSE)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_soft_prompt_is_trained_alone_and_leaves_the_base_when_disabled(
    tiny: ModuleType, fit: Any, name: str
) -> None:
    adapted = SoftPrompt(num_virtual_tokens=6).attach(tiny.build(name), None, seed=3)
    rows = tiny.sequences((4, 6, 3, 5), shared=5, labelled=True)
    base = Adapted(tiny.build(name)).logprobs(rows)
    with adapted.disabled():
        assert torch.equal(adapted.logprobs(rows), base)
    source = DatasetSource([Row(str(at), (row,)) for at, row in enumerate(rows)], 2, 2, 7, False)
    losses = fit(adapted, CausalLM(), source, 12, 5e-2)
    assert losses[-1] < losses[0] - 0.05
    assert all(value.grad is None for value in adapted.family.module.parameters())
    with adapted.disabled():
        assert torch.equal(adapted.logprobs(rows), base)
    assert not torch.equal(adapted.logprobs(rows), base)


@pytest.mark.parametrize("name", [name for name in DECODERS if "window" not in name])
@pytest.mark.parametrize("length", [1, 5])
def test_learned_prefixes_equal_a_cache_of_transformers(tiny: ModuleType, name: str, length: int) -> None:
    family = tiny.build(name)
    config = family.module.config
    heads = getattr(config, "num_key_value_heads", config.num_attention_heads)
    width = getattr(config, "head_dim", config.hidden_size // config.num_attention_heads)
    generator = torch.Generator().manual_seed(0)

    def learned() -> torch.Tensor:
        return torch.randn(heads, length, width, generator=generator, dtype=torch.float64).requires_grad_()

    prefixes = {layer: (learned(), learned()) for layer in range(2)}
    leaves = [part for pair in prefixes.values() for part in pair]
    rows = tiny.sequences((3, 7, 7, 1), shared=6)
    found = states(family, rows, everywhere(rows), Additions(prefixes=prefixes))
    family.module.set_attn_implementation("sdpa")
    outputs = []
    for row in rows:
        cache = DynamicCache()
        for layer, (key, value) in prefixes.items():
            cache.update(key.unsqueeze(0), value.unsqueeze(0), layer)
        ids = torch.tensor([row.input_ids])
        outputs.append(family.body(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state[0])
    plain = torch.cat(outputs)
    torch.testing.assert_close(found, plain, **CLOSE)
    push = torch.linspace(-1, 1, plain.numel(), dtype=plain.dtype).view_as(plain).sin()
    mine = torch.autograd.grad((found * push).sum(), leaves)
    theirs = torch.autograd.grad((plain * push).sum(), leaves)
    for one, other in zip(mine, theirs, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, **CLOSE)


def test_learned_prefixes_count_against_a_sliding_window(tiny: ModuleType) -> None:
    family = tiny.build("mistral_short_window")
    rows = tiny.sequences((1,), shared=2)
    learned = torch.zeros(2, 4, 8, dtype=torch.float64)
    with pytest.raises(AssertionError, match="learned keys and values need the flat layout"):
        states(family, rows, everywhere(rows), Additions(prefixes={0: (learned, learned), 1: (learned, learned)}))
