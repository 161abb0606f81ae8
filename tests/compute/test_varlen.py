"""The layout for the variable-length kernel gives the attention of the dense path, with a kernel written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rung.compute.attention import Running, attend_plan
from rung.compute.plan import plan_bidirectional, plan_causal
from rung.compute.varlen import attend_packed, fits, pack

TRUNK = tuple(range(10, 220))
ROWS = [(*TRUNK, 1, 2, 3), (*TRUNK, 4, 5), (*TRUNK, *range(300, 340)), (7, 8, 9), tuple(range(400, 720))]


def written_out(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, query_ends: Any, key_ends: Any, *_: int, **how: Any
) -> torch.Tensor:
    """What the kernel's documentation says, block by block."""
    assert query_ends.dtype == key_ends.dtype == torch.int32
    rep = query.shape[1] // key.shape[1]
    assert how["enable_gqa"] is (rep > 1)
    out = []
    for at in range(len(query_ends) - 1):
        q = query[query_ends[at] : query_ends[at + 1]].transpose(0, 1)
        k, v = (
            part[key_ends[at] : key_ends[at + 1]].transpose(0, 1).repeat_interleave(rep, 0) for part in (key, value)
        )
        scores = q @ k.transpose(1, 2) * how["scale"]
        if how["window_size"] == (-1, 0):
            offset = k.shape[1] - q.shape[1]
            hidden = torch.ones(q.shape[1], k.shape[1]).triu(offset + 1).bool()
            scores = scores.masked_fill(hidden, float("-inf"))
        out.append((scores.softmax(-1) @ v).transpose(0, 1))
    return torch.cat(out)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("learned", [0, 3])
def test_it_equals_the_dense_path(causal: bool, learned: int) -> None:
    plan = plan_causal(ROWS) if causal else plan_bidirectional(ROWS)
    assert not any(tree is not None for group in plan.groups for tree in group.trees)
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)

    count = len(plan.tokens)
    qkv = (drawn(count, 4, 8), drawn(count, 2, 8), drawn(count, 2, 8))
    prefix = (drawn(2, learned, 8), drawn(2, learned, 8)) if learned else None
    inputs = [*qkv, *(prefix or ())]
    packed = attend_packed(qkv, pack(plan, learned, torch.device("cpu")), prefix, (0.3, causal), written_out)
    dense = attend_plan(Running(plan, {0: prefix} if prefix else {}), qkv, prefix, 0.3, 0.0)
    torch.testing.assert_close(packed, dense, rtol=1e-10, atol=1e-12)
    push = torch.linspace(-1, 1, dense.numel(), dtype=torch.float64).view_as(dense)
    for ours, plain in zip(
        torch.autograd.grad((packed * push).sum(), inputs),
        torch.autograd.grad((dense * push).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-12)


def test_a_cpu_keeps_the_dense_path() -> None:
    assert not fits(plan_causal(ROWS), torch.zeros(1, dtype=torch.bfloat16), 0.0)
