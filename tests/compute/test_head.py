"""Chunked log-probabilities equal the plain ones, and so do their gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from rung.compute.head import CHUNK, logprobs, plain_logprobs


def problem(positions: int, words: int = 37) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(positions)
    hidden = torch.randn(positions, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(words, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(words, generator=generator, dtype=torch.float64, requires_grad=True)
    return hidden, weight, bias, torch.randint(0, words, (positions,), generator=generator)


@pytest.mark.parametrize("positions", [1, CHUNK, CHUNK + 1, 2 * CHUNK + 300])
@pytest.mark.parametrize("extras", ["none", "bias", "softcap", "scale", "all"])
def test_values_and_gradients_equal_cross_entropy(positions: int, extras: str) -> None:
    hidden, weight, bias, labels = problem(positions)
    used = bias if extras in {"bias", "all"} else None
    softcap = 3.0 if extras in {"softcap", "all"} else None
    scale = 0.25 if extras in {"scale", "all"} else 1.0
    inputs = [hidden, weight] + ([bias] if used is not None else [])
    found = logprobs(hidden, weight, labels, used, softcap, scale)
    # The order of the models themselves: bias, then the factor, then the cap.
    logits = (hidden @ weight.T + (0 if used is None else used)) * scale
    logits = logits if softcap is None else softcap * (logits / softcap).tanh()
    expected = -cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    push = torch.linspace(-1, 2, positions, dtype=torch.float64)
    into_found = torch.autograd.grad((found * push).sum(), inputs)
    into_expected = torch.autograd.grad((expected * push).sum(), inputs)
    for mine, theirs in zip(into_found, into_expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_gradients_are_computed_only_where_asked() -> None:
    hidden, weight, _, labels = problem(CHUNK + 9)
    (into_hidden,) = torch.autograd.grad(logprobs(hidden, weight.detach(), labels).sum(), [hidden])
    (into_weight,) = torch.autograd.grad(logprobs(hidden.detach(), weight, labels).sum(), [weight])
    both = torch.autograd.grad(plain_logprobs(hidden, weight, labels).sum(), [hidden, weight])
    torch.testing.assert_close(into_hidden, both[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(into_weight, both[1], rtol=1e-10, atol=1e-10)


def test_no_position_gives_a_loss_of_zero_with_a_gradient_of_zero() -> None:
    hidden = torch.zeros(0, 8, requires_grad=True)
    found = logprobs(hidden, torch.ones(5, 8), torch.zeros(0, dtype=torch.long))
    assert found.shape == (0,)
    found.sum().backward()
    assert hidden.grad is not None


def test_low_precision_states_get_fp32_softmax_arithmetic() -> None:
    hidden, weight, _, labels = problem(CHUNK + 3)
    found = logprobs(hidden.bfloat16(), weight.bfloat16(), labels)
    assert found.dtype == torch.float32
    exact = plain_logprobs(hidden.bfloat16().double(), weight.bfloat16().double(), labels)
    assert (found - exact).abs().max() < 0.1


@pytest.mark.parametrize("positions", [1, CHUNK, 2 * CHUNK + 300])
def test_a_frozen_output_layer_gives_the_same_gradient_of_the_states(positions: int) -> None:
    hidden, weight, _, labels = problem(positions)
    push = torch.linspace(-1, 2, positions, dtype=torch.float64)
    found = logprobs(hidden, weight.detach(), labels)
    expected = plain_logprobs(hidden, weight, labels)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    (mine,), (theirs,) = (torch.autograd.grad((one * push).sum(), [hidden]) for one in (found, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
