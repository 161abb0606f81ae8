"""The fused low-rank map equals its formula, value and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.compute.lowrank import lowrank_linear, plain_lowrank_linear

sizes = st.integers(1, 9)


def made(seed: int, dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


@given(sizes, sizes, sizes, sizes, st.booleans(), st.floats(0.1, 8), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_it_equals_its_formula_in_fp64(rows, into, out, rank, biased, scaling, seed) -> None:
    x, weight, bias, down, up, back = made(
        seed, torch.float64, (2, rows, into), (out, into), (out,), (rank, into), (out, rank), (2, rows, out)
    )
    found = []
    for function in (lowrank_linear, plain_lowrank_linear):
        wanted = [value.clone().requires_grad_() for value in (x, down, up)]
        result = function(wanted[0], weight, bias if biased else None, (wanted[1], wanted[2]), scaling)
        found.append([result.detach(), *torch.autograd.grad(result, wanted, back)])
    for ours, formula in zip(*found, strict=True):
        torch.testing.assert_close(ours, formula, rtol=1e-12, atol=1e-12)


def test_its_gradient_is_that_of_finite_differences() -> None:
    x, weight, bias, down, up = made(0, torch.float64, (3, 4), (5, 4), (5,), (2, 4), (5, 2))
    inputs = [value.requires_grad_() for value in (x, down, up)]
    assert torch.autograd.gradcheck(lambda a, b, c: lowrank_linear(a, weight, bias, (b, c), 1.7), inputs)


def test_an_input_without_gradient_gets_none() -> None:
    x, weight, down, up = made(0, torch.float32, (3, 4), (5, 4), (2, 4), (5, 2))
    down.requires_grad_(), up.requires_grad_()
    lowrank_linear(x, weight, None, (down, up), 2.0).sum().backward()
    assert x.grad is None and down.grad is not None and up.grad is not None


@pytest.mark.parametrize("transposed", [False, True])
def test_bf16_inputs_train_fp32_matrices(transposed: bool) -> None:
    x, weight = made(1, torch.bfloat16, (64, 96), (32, 96))
    down, up = made(2, torch.float32, (8, 96), (32, 8))
    if transposed:
        weight = weight.T.contiguous().T
    grads = []
    for function in (lowrank_linear, plain_lowrank_linear):
        wanted = [down.clone().requires_grad_(), up.clone().requires_grad_()]
        function(x, weight, None, (wanted[0], wanted[1]), 2.0).float().square().sum().backward()
        assert all(value.grad is not None and value.grad.dtype == torch.float32 for value in wanted)
        grads.append(torch.cat([value.grad.flatten() for value in wanted if value.grad is not None]))
    assert torch.nn.functional.cosine_similarity(*grads, dim=0) > 0.999
