"""Attention over the flat layout as one call of PyTorch's variable-length kernel, where there is a GPU for it.

Each block is a sequence of its own length whose keys are its context's and its own; the kernel aligns the causal mask
with the last key, which is what blocks under a context need. Blocks with a tree mask can't be said to it.
The layout is tested on the CPU with a kernel written out; the GPU's own is untested on the machines this was made on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rung.compute.plan import Plan

Kernel = Callable[..., Any]

_AMPERE = (8, 0)


@dataclass(frozen=True, slots=True)
class Packed:
    """A plan as the kernel takes it, made once for all layers.

    Attributes:
        keys: `[K]` flat tokens (learned keys first) whose keys the blocks read, block by block.
        query_ends: `[blocks + 1]` int32, where each block's queries end.
        key_ends: The same of its keys.
        longest: Queries and keys of the longest block.
    """

    keys: torch.Tensor
    query_ends: torch.Tensor
    key_ends: torch.Tensor
    longest: tuple[int, int]


def fits(plan: Plan, query: torch.Tensor, dropout: float) -> bool:
    """Whether the kernel can compute a plan's attention: on a GPU of its kind, in half precision, without trees."""
    if not query.is_cuda or dropout or query.dtype not in (torch.bfloat16, torch.float16):
        return False
    trees = any(tree is not None for group in plan.groups for tree in group.trees)
    return not trees and torch.cuda.get_device_capability(query.device) >= _AMPERE


def pack(plan: Plan, learned: int, device: torch.device) -> Packed:
    """Lay a plan without trees out for the kernel.

    Args:
        plan: The plan.
        learned: Learned keys before all others.
        device: Where the indices go.
    """
    keys: list[np.ndarray] = []
    lengths: list[int] = []
    for group in plan.groups:
        before = [np.arange(learned), *(np.arange(start, end) + learned for start, end in group.context)]
        start = group.start + learned
        for length in group.lengths:
            keys.append(np.concatenate([*before, np.arange(start, start + length)]))
            lengths.append(length)
            start += length
    seen = [len(one) for one in keys]

    def ends(counts: list[int]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)).to(device)

    index = torch.from_numpy(np.concatenate(keys)).to(device)
    return Packed(index, ends(lengths), ends(seen), (max(lengths), max(seen)))


def attend_packed(
    qkv: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    packed: Packed,
    prefix: tuple[torch.Tensor, torch.Tensor] | None,
    settings: tuple[float, bool],
    kernel: Kernel | None = None,
) -> torch.Tensor:
    """Attention of all blocks.

    Args:
        qkv: `[N, heads, d]` queries, `[N, key heads, d]` keys and values.
        packed: The plan.
        prefix: Learned keys and values `[key heads, p, d]`, or None.
        settings: Factor on the scores, and whether the plan is causal.
        kernel: PyTorch's `varlen_attn`, or one that takes the same.

    Returns:
        `[N, heads, d]`.
    """
    if kernel is None:
        from torch.nn.attention.varlen import varlen_attn as kernel
    scale, causal = settings
    query, key, value = qkv
    if prefix is not None:
        key, value = (
            torch.cat([learned.transpose(0, 1), part]) for learned, part in zip(prefix, (key, value), strict=True)
        )
    return kernel(
        query,
        key.index_select(0, packed.keys),
        value.index_select(0, packed.keys),
        packed.query_ends,
        packed.key_ends,
        *packed.longest,
        scale=scale,
        window_size=(-1, 0) if causal else (-1, -1),
        enable_gqa=query.shape[1] != key.shape[1],
    )
