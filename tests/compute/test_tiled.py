"""Long blocks in tiles: what PyTorch's kernel gives, gradients included, and never the square of a row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import rung.compute.attention as attention
from rung.compute.attention import Running, attend_plan
from rung.compute.plan import Plan, plan_bidirectional, plan_causal
from rung.compute.tiled import AT_ONCE, TILE, in_tiles

Given = tuple[torch.Tensor, ...]


def ids(start: int, count: int) -> tuple[int, ...]:
    return tuple(range(start, start + count))


EDGES = [ids(10_000 * at, count) for at, count in enumerate((257, 2 * TILE, 3 * TILE, 3 * TILE + 1, 500, 500, 30))]
TRUNK, DEEP = ids(0, 300), ids(0, 1_030)
SHARED = [
    *((*TRUNK, *ids(1_000 * at, count)) for at, count in enumerate((40, 270, 270, 3), start=2)),
    ids(9_000, 12),
]
# Beyond 1,024 keys even short blocks are long ones: here one of them has a tree mask.
TREES = [(*DEEP, *ids(2_000, 9), 1, 2, 3), (*DEEP, *ids(2_000, 9), 4, 5), (*DEEP, *ids(7_000, 4)), DEEP[:500]]
PLANS = {
    "edges": plan_causal(EDGES),
    "bidirectional": plan_bidirectional(EDGES),
    "shared": plan_causal(SHARED),
    "trees": plan_causal(TREES),
}


def given(plan: Plan, heads: tuple[int, int], learned: int, dtype: torch.dtype = torch.float64, size: int = 8) -> Given:
    """Queries, keys, values and, where asked for, learned keys and values."""
    generator = torch.Generator().manual_seed(0)
    count = len(plan.tokens)
    shapes = [
        (count, heads[0], size),
        *[(count, heads[1], size)] * 2,
        *[(heads[1], learned, size)] * (2 if learned else 0),
    ]
    return tuple(
        torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes
    )


def attended(plan: Plan, inputs: Given, scale: float = 0.3) -> torch.Tensor:
    """All blocks' attention."""
    qkv, prefix = (inputs[0], inputs[1], inputs[2]), (inputs[3], inputs[4]) if len(inputs) > 3 else None
    return attend_plan(Running(plan, {0: prefix} if prefix else {}), qkv, prefix, scale, 0.0)


def with_gradients(plan: Plan, inputs: Given, scale: float = 0.3) -> list[torch.Tensor]:
    """The values, and the gradients of a weighted sum of them."""
    found = attended(plan, inputs, scale)
    push = torch.linspace(-3, 3, found.numel(), dtype=torch.float64).sin().view_as(found).to(found.dtype)
    return [found.detach(), *torch.autograd.grad(found, inputs, push)]


@pytest.mark.parametrize("learned", [0, 3])
@pytest.mark.parametrize("heads", [(2, 2), (6, 2), (4, 1)])
@pytest.mark.parametrize("layout", PLANS)
def test_values_and_every_gradient_equal_the_kernels(
    monkeypatch: pytest.MonkeyPatch, layout: str, heads: tuple[int, int], learned: int
) -> None:
    plan = PLANS[layout]
    assert any(not group.dense for group in plan.groups)
    assert (layout == "trees") == any(not group.dense and group.trees[0] is not None for group in plan.groups)
    inputs = given(plan, heads, learned)
    ours = with_gradients(plan, inputs)
    monkeypatch.setattr(attention, "in_tiles", lambda query, dropout: False)
    plain = with_gradients(plan, inputs)
    torch.testing.assert_close(ours[0], plain[0], rtol=0.0, atol=1e-12)
    for one, other in zip(ours[1:], plain[1:], strict=True):
        assert (one - other).norm() <= 1e-10 * other.norm() > 0


def test_what_a_query_may_not_see_gets_no_gradient_at_all() -> None:
    plan = PLANS["edges"]
    inputs = given(plan, (6, 2), 0)
    row, at = plan.index[3], 2 * TILE + 7
    found = torch.autograd.grad(attended(plan, inputs)[row[at]].sum(), inputs)
    seen = torch.zeros(len(plan.tokens), dtype=torch.bool)
    seen[row[: at + 1]] = True
    for part, gradient in zip(("query", "key", "value"), found, strict=True):
        reached = gradient.abs().sum((1, 2)) > 0
        expected = torch.zeros_like(seen).index_fill_(0, torch.tensor(row[at]), True) if part == "query" else seen
        assert torch.equal(reached, expected), part


def test_bf16_is_as_near_to_fp64_as_the_kernel_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients together; the kernel's scores are less rounded, and its sums over queries more."""
    plan, size = PLANS["edges"], 64

    def found(dtype: torch.dtype) -> list[torch.Tensor]:
        inputs = tuple(x.detach().to(dtype).requires_grad_() for x in given(plan, (6, 2), 0, torch.bfloat16, size))
        return with_gradients(plan, inputs, size**-0.5)

    exact, ours = found(torch.float64), found(torch.bfloat16)
    monkeypatch.setattr(attention, "in_tiles", lambda query, dropout: False)
    plain = found(torch.bfloat16)
    off = torch.tensor(
        [
            [(part - whole).norm() / whole.norm() for part, whole in zip(some, exact, strict=True)]
            for some in (ours, plain)
        ]
    )
    assert off[0].norm() <= off[1].norm(), off
    assert bool((off[0] <= 2 * off[1]).all()), off


class Largest(TorchDispatchMode):
    """Notes the most numbers that any tensor of any operation has."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.numbers = max([self.numbers, *(x.numel() for x in tree_leaves(made) if isinstance(x, torch.Tensor))])
        return made


def test_the_square_of_a_row_is_never_held() -> None:
    length = 4_000
    plan = plan_causal([ids(0, length)])
    inputs = given(plan, (4, 2), 0, torch.float32)
    with Largest() as largest:
        with_gradients(plan, inputs)
    assert AT_ONCE // 2 < largest.numbers <= max(AT_ONCE, TILE * 2 * length) < length * length / 10


def test_the_values_are_the_same_without_gradients() -> None:
    plan = PLANS["shared"]
    inputs = given(plan, (6, 2), 3)
    with torch.inference_mode():
        found = attended(plan, inputs)
    assert torch.equal(found, attended(plan, inputs))


def test_weights_that_are_dropped_are_the_kernels() -> None:
    assert in_tiles(torch.zeros(1), 0.0)
    assert not in_tiles(torch.zeros(1), 0.1)
    assert not in_tiles(torch.zeros(1, device="meta"), 0.0)
