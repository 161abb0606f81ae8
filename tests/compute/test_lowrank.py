"""The fused low-rank map equals its formula, value and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.compute.lowrank import linear_beside, lowrank_linear, plain_lowrank_linear

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


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("size", [1e-4, 1e-3])
def test_a_term_below_the_last_digit_of_the_output_arrives_in_bf16(size: float, biased: bool) -> None:
    x, weight, bias, down, up = made(3, torch.float32, (400, 256), (256, 256), (256,), (8, 256), (256, 8))
    x, weight, bias = x.bfloat16(), (weight / 16).bfloat16(), (bias / 2).bfloat16() if biased else None
    pair = (down / 16).bfloat16(), (up * size).bfloat16()
    exact = [value.double() for value in (x, weight, *pair)]
    term = exact[0] @ exact[2].T @ exact[3].T
    straight = exact[0] @ exact[1].T + (0 if bias is None else bias.double())

    def arriving(out: torch.Tensor) -> float:
        """How much of the term is in the output: 1 = all of it, on average over the outputs."""
        return float(((out.double() - straight) * term).sum() / term.square().sum())

    assert abs(arriving(lowrank_linear(x, weight, bias, pair, 1.0)) - 1) < 0.05
    with torch.no_grad():  # what is scored is what is trained
        assert abs(arriving(lowrank_linear(x, weight, bias, pair, 1.0)) - 1) < 0.05
    if size == 1e-4:
        assert arriving(plain_lowrank_linear(x, weight, bias, pair, 1.0)) < 0.6, "else there is nothing to be gained"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("biased", [False, True])
def test_without_a_term_it_has_the_bits_of_the_map(biased: bool, dtype: torch.dtype) -> None:
    x, weight, bias, down = made(4, dtype, (33, 96), (64, 96), (64,), (8, 96))
    up = torch.zeros(64, 8)
    with_bias = bias if biased else None
    for learns in (True, False):
        with torch.set_grad_enabled(learns):
            ours = lowrank_linear(x, weight, with_bias, (down, up), 2.0)
        assert torch.equal(ours, torch.nn.functional.linear(x, weight, with_bias))


@pytest.mark.parametrize("biased", [False, True])
def test_a_term_of_its_own_is_added_to_the_map(biased: bool) -> None:
    x, weight, bias, term, back = made(5, torch.float64, (2, 3, 6), (5, 6), (5,), (2, 3, 5), (2, 3, 5))
    with_bias = bias if biased else None
    x.requires_grad_(), term.requires_grad_()
    ours = linear_beside(term, x, weight, with_bias)
    formula = torch.nn.functional.linear(x, weight, with_bias) + term
    torch.testing.assert_close(ours, formula)
    for one, other in zip(*(torch.autograd.grad(out, (x, term), back) for out in (ours, formula)), strict=True):
        torch.testing.assert_close(one, other)
