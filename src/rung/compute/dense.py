"""Attention of short blocks as dense matrix products, forward and backward in one step of the graph.

The blocks of a group are filled up to the longest, here and nowhere else: queries, keys and values are gathered from
the flat layout, multiplied as one batch, and the results put back. PyTorch's own kernel costs several times more on
such blocks on a CPU, and a graph node for every slice and copy costs as much again. The query heads that read one
key head are stacked as more queries of it, so keys are never repeated.

Checked against transformers' own attention, row by row, in fp64 (`tests/compute/test_states.py`, `tests/equality`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from rung.compute.drop import keep_mask
from rung.compute.plan import Group, Ints

Three = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Call:
    """One group's attention call, made once for all layers.

    Sizes: `G` blocks, `h` key heads, `r` query heads a key head, `m` tokens of the longest block, `p` learned keys
    before all others, `c` keys of context, `k = p + c + m`.

    Attributes:
        queries: `[G * h * r * m]` rows of the `[N * h * r, d]` queries.
        keys: `[G * h * (c + m)]` rows of the `[N * h, d]` keys and values.
        outputs: `[n * h * r]` where in the batched result each of the group's `n` tokens' heads stands.
        own: `[n * h]` where in the batched keys each of the group's tokens' heads stands.
        filled: Rows of the batched queries that stand for no token.
        mask: `[G or 1, 1, r * m, k]`, added to the scores, or None where every token sees all keys.
        context: Flat ranges of the context.
        sizes: `(G, h, r, m, c)`.
        span: First and last + 1 of the group's flat tokens.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    outputs: torch.Tensor
    own: torch.Tensor
    filled: torch.Tensor
    mask: torch.Tensor | None
    context: tuple[tuple[int, int], ...]
    sizes: tuple[int, int, int, int, int]
    span: tuple[int, int]


def prepare(group: Group, causal: bool, learned: int, heads: tuple[int, int], like: torch.Tensor) -> Call:
    """The indices and the mask of a group's call.

    Args:
        group: The group.
        causal: Whether tokens see only what stands before them.
        learned: Learned keys before all others, `p`.
        heads: Query heads and key heads.
        like: A tensor of the dtype and device of the queries.

    Returns:
        The call.
    """
    query_heads, key_heads = heads
    rep = query_heads // key_heads
    count, longest = len(group.lengths), group.longest
    starts = group.start + np.concatenate([[0], np.cumsum(group.lengths)])
    # [G, m] flat index of each place; places that are filled up repeat the block's last token.
    places = np.minimum(starts[:-1, None] + np.arange(longest), starts[1:, None] - 1)
    real = np.arange(longest) < np.asarray(group.lengths)[:, None]
    context = np.concatenate([np.arange(start, end) for start, end in group.context] or [np.empty(0, dtype=np.int64)])
    by_head = np.arange(key_heads)[:, None, None] * rep + np.arange(rep)[:, None]
    queries = places[:, None, None, :] * query_heads + by_head
    seen = np.concatenate([np.broadcast_to(context, (count, len(context))), places], axis=1)
    keys = seen[:, None, :] * key_heads + np.arange(key_heads)[:, None]
    batched = np.arange(queries.size).reshape(queries.shape).transpose(0, 3, 1, 2)
    inside = np.arange(keys.size).reshape(keys.shape)[:, :, len(context) :].transpose(0, 2, 1)
    filled = np.broadcast_to(~real[:, None, None, :], queries.shape).reshape(-1).nonzero()[0]

    def tensor(values: Ints) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values.reshape(-1))).to(like.device)

    return Call(
        tensor(queries),
        tensor(keys),
        tensor(batched[real]),
        tensor(inside[real]),
        tensor(filled),
        _mask(group, causal, learned + len(context), rep, like),
        group.context,
        (count, key_heads, rep, longest, len(context)),
        (group.start, group.end),
    )


def _mask(group: Group, causal: bool, before: int, rep: int, like: torch.Tensor) -> torch.Tensor | None:
    """`[G or 1, 1, r * m, k]` of zeros and the lowest number; a filled-up query sees what the last token sees."""
    longest = group.longest
    alike = all(tree is None for tree in group.trees) and group.lengths[-1] == longest
    if alike and (not causal or longest == 1):
        return None
    sees = np.zeros((1 if alike else len(group.lengths), longest, before + longest), dtype=np.bool_)
    sees[:, :, :before] = True
    for number in range(len(sees)):
        length, tree = group.lengths[number], group.trees[number]
        if tree is None:
            tree = np.tri(length, dtype=np.bool_) if causal else np.ones((length, length), dtype=np.bool_)
        sees[number, :length, before : before + length] = tree
        sees[number, length:, before : before + length] = tree[-1]
    # The lowest finite number, not -inf: a row that is hidden altogether would give NaN.
    hidden = torch.from_numpy(~sees).to(like.device)
    mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(
        hidden, torch.finfo(like.dtype).min
    )
    return mask.repeat(1, rep, 1).unsqueeze(1)


class _DenseAttention(torch.autograd.Function):
    """Attention of all groups over flat queries, keys and values."""

    @staticmethod
    def forward(ctx: Any, calls: Sequence[Call], settings: tuple[float, float], *tensors: torch.Tensor) -> torch.Tensor:
        """See `attend`; `tensors` are queries, keys, values and, where there are any, learned keys and values."""
        scale, dropout = settings
        query, key, value = (tensor.contiguous() for tensor in tensors[:3])
        prefix = tensors[3:]
        tokens, query_heads, size = query.shape
        out = torch.empty_like(query)
        # Scaled once here, small, instead of once per score.
        rows, keys, values = (query * scale).view(-1, size), key.view(-1, size), value.view(-1, size)
        saved: list[torch.Tensor] = []
        for call in calls:
            one, k, v = _gather(call, rows, keys, values, prefix)
            scores = one @ k.transpose(-1, -2)
            if call.mask is not None:
                scores += call.mask
            weights = torch.softmax(scores, -1)
            kept = weights
            if dropout:
                keep = keep_mask(weights, dropout)
                kept = weights * keep
                saved.append(keep)
            start, end = call.span
            torch.index_select(
                (kept @ v).view(-1, size), 0, call.outputs, out=out[start:end].view((end - start) * query_heads, size)
            )
            saved.extend((one, k, v, weights))
        ctx.calls, ctx.settings, ctx.shapes = calls, settings, (tokens, query_heads, key.shape[1], size)
        ctx.learned = prefix[0].shape[1] if prefix else 0
        ctx.save_for_backward(*saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        scale, dropout = ctx.settings
        tokens, query_heads, key_heads, size = ctx.shapes
        gradient = gradients[0].contiguous().view(-1, size)
        # Zeros, where long blocks are computed elsewhere.
        covered = sum(call.span[1] - call.span[0] for call in ctx.calls) == tokens
        new = gradient.new_empty if covered else gradient.new_zeros
        into_query, into_key, into_value = (new(tokens, heads, size) for heads in (query_heads, key_heads, key_heads))
        shared = Shared(ctx.learned, key_heads, into_key)
        saved = iter(ctx.saved_tensors)
        for call in ctx.calls:
            keep = next(saved) if dropout else None
            one, k, v, weights = (next(saved) for _ in range(4))
            back = gradient.index_select(0, call.queries).index_fill_(0, call.filled, 0).view_as(one)
            kept = weights if keep is None else weights * keep
            by_value = kept.transpose(-1, -2) @ back
            by_weight = back @ v.transpose(-1, -2)
            if keep is not None:
                by_weight *= keep
            by_score = torch.ops.aten._softmax_backward_data(by_weight, weights, -1, weights.dtype)
            by_query, by_key = (by_score @ k).mul_(scale), by_score.transpose(-1, -2) @ one
            start, end = call.span
            for into, by, index in (
                (into_query, by_query, call.outputs),
                (into_key, by_key[:, :, ctx.learned :].contiguous(), call.own),
                (into_value, by_value[:, :, ctx.learned :].contiguous(), call.own),
            ):
                torch.index_select(by.view(-1, size), 0, index, out=into[start:end].view(-1, size))
            shared.add(call.context, by_key, by_value)
        shared.settle(into_key, into_value)
        return (None, None, into_query, into_key, into_value, *shared.prefix)


class Shared:
    """Gradients of keys and values that many blocks read, summed in fp32 at least."""

    def __init__(self, learned: int, heads: int, like: torch.Tensor) -> None:
        wide = torch.promote_types(like.dtype, torch.float32)
        self.dtype = like.dtype
        self.learned = learned
        self.sums: dict[tuple[int, int], list[torch.Tensor]] = {}
        self.before = [like.new_zeros(heads, learned, like.shape[-1], dtype=wide) for _ in range(2)] if learned else []

    def add(self, context: Sequence[tuple[int, int]], *gradients: torch.Tensor) -> None:
        """Add the `[G, h, k, d]` gradients of keys and of values of blocks under a context."""
        before = self.learned + sum(end - start for start, end in context)
        if not before:
            return
        totals = [
            gradient[:, :, :before].sum(0, dtype=torch.promote_types(self.dtype, torch.float32))
            for gradient in gradients
        ]
        for held, total in zip(self.before, totals, strict=False):
            held += total[:, : self.learned]
        at = self.learned
        for span in context:
            length = span[1] - span[0]
            parts = [total[:, at : at + length] for total in totals]
            if span in self.sums:
                for held, part in zip(self.sums[span], parts, strict=True):
                    held += part
            else:
                self.sums[span] = [part.clone() for part in parts]
            at += length

    def settle(self, *into: torch.Tensor) -> None:
        """Add the sums to the flat `[N, h, d]` gradients."""
        for (start, end), totals in self.sums.items():
            for flat, total in zip(into, totals, strict=True):
                flat[start:end] += total.transpose(0, 1)

    @property
    def prefix(self) -> list[torch.Tensor]:
        """Gradients of the learned keys and values."""
        return [before.to(self.dtype) for before in self.before]


def _gather(
    call: Call,
    rows: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    prefix: Sequence[torch.Tensor],
) -> Three:
    """`[G, h, r * m, d]` queries and `[G, h, k, d]` keys and values."""
    count, heads, rep, longest, _ = call.sizes
    query = rows.index_select(0, call.queries).view(count, heads, rep * longest, -1)
    both = [part.index_select(0, call.keys).view(count, heads, -1, rows.shape[1]) for part in (keys, values)]
    if prefix:
        both = [torch.cat([one.expand(count, *one.shape), part], dim=2) for one, part in zip(prefix, both, strict=True)]
    return query, both[0], both[1]


def attend(
    qkv: Three,
    calls: Sequence[Call],
    prefix: tuple[torch.Tensor, torch.Tensor] | None,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    """Attention of short blocks.

    Args:
        qkv: `[N, heads, d]` queries and `[N, key heads, d]` keys and values.
        calls: The groups' calls.
        prefix: Learned keys and values `[key heads, p, d]`, or None.
        scale: Factor on the scores.
        dropout: Probability that a weight is dropped.

    Returns:
        `[N, heads, d]`, set at the tokens of the calls' groups alone.
    """
    out = _DenseAttention.apply(calls, (scale, dropout), *qkv, *(prefix or ()))
    assert isinstance(out, torch.Tensor)
    return out
