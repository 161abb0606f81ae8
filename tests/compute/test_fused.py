"""Fused layers equal the models' own, and only layers that compute just that are fused."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import GemmaConfig, GemmaForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from rung.compute.fused import fuse
from rung.compute.pointwise import compiled, gate, rms_norm, rotate
from rung.compute.states import states
from rung.models.families import describe
from rung.types import Tokens

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
MODELS = {
    "llama": (LlamaConfig, LlamaForCausalLM, 5 + 2 + 2),
    # Norms on queries and keys: the attention keeps its own code, those norms are fused.
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, 5 + 4 + 2),
    # Norms scale by 1 + weight, gates are of another kind: nothing but the attention is what it seems.
    "gemma": (GemmaConfig, GemmaForCausalLM, 2),
}
ROWS = [Tokens((5, 6, 7, 8, 9, *range(10, 10 + extra))) for extra in (0, 3, 9)]


def made(name: str) -> nn.Module:
    config, model, _ = MODELS[name]
    torch.manual_seed(0)
    module = model(config(**SIZES)).double()
    with torch.no_grad():
        for path, value in module.named_parameters():
            if "norm" in path:
                value.uniform_(0.5, 1.5)
    return module.eval()


def in_fp64(norm: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """transformers takes root mean squares in fp32 even of fp64 states, too coarse to compare with."""
    return lambda x: norm.weight * x * (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt()


def gradients(module: nn.Module, fused: bool) -> tuple[int, list[torch.Tensor]]:
    family = describe(module, "decoder")
    count = fuse(family) if fused else 0
    for part in family.body.modules():
        if hasattr(part, "variance_epsilon") and not fused:
            part.forward = in_fp64(part)
    out = states(family, ROWS, [range(len(row)) for row in ROWS])
    weights = list(family.body.parameters())
    push = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return count, [out.detach(), *torch.autograd.grad((out * push).sum(), weights)]


@pytest.mark.parametrize("name", MODELS)
def test_states_and_every_gradient_equal_the_models_own(name: str) -> None:
    count, ours = gradients(made(name), fused=True)
    _, own = gradients(made(name), fused=False)
    assert count == MODELS[name][2]
    for mine, theirs in zip(ours, own, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_generation_with_a_cache_still_goes_through_the_models_own_attention() -> None:
    module, plain = made("llama"), made("llama")
    fuse(describe(module, "decoder"))
    prompt = torch.tensor([[5, 6, 7, 8]])
    asked = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(module.generate(prompt, **asked), plain.generate(prompt, **asked))


@pytest.mark.parametrize("wide", [torch.float64])
def test_each_formula_has_the_gradient_of_finite_differences(wide: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(3, 2, 4, generator=generator, dtype=wide, requires_grad=True) for _ in range(2))
    weight = torch.rand(4, generator=generator, dtype=wide, requires_grad=True)
    angles = torch.randn(3, 2, generator=generator, dtype=wide)
    assert torch.autograd.gradcheck(lambda a, w: rms_norm(a, w, 1e-5), (x, weight))
    assert torch.autograd.gradcheck(gate, (x, y))
    assert torch.autograd.gradcheck(lambda a: rotate(a, angles.cos(), angles.sin()), (x,))


@pytest.mark.models
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_compiled_formulas_equal_the_plain_ones() -> None:
    found = []
    for wanted in (True, False):
        generator = torch.Generator().manual_seed(1)
        x, y = (torch.randn(7, 4, 64, generator=generator, requires_grad=True) for _ in range(2))
        weight, angles = torch.rand(64, generator=generator), torch.randn(7, 32, generator=generator)
        with compiled(wanted):
            out = gate(rms_norm(x, weight, 1e-5), rotate(y, angles.cos(), angles.sin()))
        found.append([out.detach(), *torch.autograd.grad(out.square().sum(), [x, y])])
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
