"""A mask keeps the share it should, scaled so that nothing changes on average."""

from __future__ import annotations

import pytest
import torch

from rung.compute.drop import Dropout, _numbers, keep_mask


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_share_of_zeros_is_p(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    mask = keep_mask(torch.empty(1001, 997, dtype=dtype), p)
    assert mask.dtype == dtype and mask.shape == (1001, 997)
    dropped = float((mask == 0).double().mean())
    assert abs(dropped - p) < 5 * (p * (1 - p) / 1e6) ** 0.5 + 2**-16
    assert set(mask.unique().tolist()) <= {0.0, torch.tensor(1 / (1 - p), dtype=dtype).item()}


def test_neighbouring_decisions_are_independent_and_follow_the_seed() -> None:
    torch.manual_seed(1)
    first = keep_mask(torch.empty(400_000), 0.3)
    torch.manual_seed(1)
    assert torch.equal(first, keep_mask(torch.empty(400_000), 0.3))
    kept = (first != 0).double()
    for lag in range(1, 9):
        both = float((kept[lag:] * kept[:-lag]).mean())
        assert abs(both - 0.49) < 0.006, lag


def test_the_layer_drops_in_training_alone_and_the_gradient_goes_where_the_value_went() -> None:
    torch.manual_seed(2)
    layer, x = Dropout(0.25), torch.ones(50, 40, requires_grad=True)
    out = layer(x)
    out.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, out.detach())
    assert set(out.detach().unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert layer.eval()(x) is x


def test_the_numbers_are_splitmix64s() -> None:
    """Against the published algorithm on Python's own integers."""
    torch.manual_seed(3)
    found = [value % 2**64 for value in _numbers(50, torch.device("cpu")).tolist()]
    torch.manual_seed(3)
    start = torch.empty(1, dtype=torch.int64).random_(-(2**63), None).item()
    for at, value in enumerate(found):
        mixed = (int(start) + at * 0x9E3779B97F4A7C15) % 2**64
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
        assert value == mixed ^ mixed >> 31
