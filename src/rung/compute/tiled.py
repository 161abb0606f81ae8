"""Attention of long blocks as tiles of dense products, forward and backward in one step of the graph.

A tile is a run of queries with all keys they may see. Its scores are one matrix product, its weights their softmax over
whole rows, and neither outlives it: the backward pass makes them anew (Dao et al. 2022, "FlashAttention", arXiv
2205.14135, whose tiles cut the keys as well; here a row is whole, so nothing but queries, keys and values is kept).
Memory grows with tokens times a tile, not with their square. A causal tile ends at its last query, so nearly half of
the square is never made. PyTorch's own kernel takes half as long again, or twice as long, on a CPU in bf16.

The query heads that read one key head are rows of one product, token by token, so keys are never repeated and a tile is
a run of rows. As many heads are computed at once as fit in the caches together.

Checked against PyTorch's kernel in fp64 (`tests/compute/test_tiled.py`), against transformers' own attention row by row
in `tests/equality`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd.function import once_differentiable

from rung.compute.dense import Shared, Three
from rung.compute.plan import Group

TILE = 128
"""Queries of a tile."""
AT_ONCE = 2**20
"""Scores that are held at one time, unless those of one key head are more."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Some queries of each block of a group.

    Attributes:
        rows: First and last + 1 of the rows, `r` a query.
        keys: Keys that any of them sees, those before the block included.
        mask: `[rows, w]`, added to the scores of the last `w` of these keys, or None where all see all.
    """

    rows: slice
    keys: int
    mask: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Tiles:
    """One group's attention, made once for all layers.

    Attributes:
        sizes: `(G, h, r)`: blocks, key heads, query heads a key head.
        span: First and last + 1 of the group's flat tokens.
        context: Flat ranges of the context.
        tiles: The tiles of a block.
    """

    sizes: tuple[int, int, int]
    span: tuple[int, int]
    context: tuple[tuple[int, int], ...]
    tiles: tuple[Tile, ...]


def cut(group: Group, causal: bool, learned: int, heads: tuple[int, int], like: torch.Tensor) -> Tiles:
    """The tiles of a group of long blocks, which are of one shape.

    Args:
        group: The group.
        causal: Whether tokens see only what stands before them.
        learned: Learned keys before all others.
        heads: Query heads and key heads.
        like: A tensor of the dtype and device of the queries.

    Returns:
        The tiles.
    """
    rep, own, tree = heads[0] // heads[1], group.longest, group.trees[0]
    before = learned + group.keys - own
    triangle = _added(np.tri(min(TILE, own), dtype=np.bool_), rep, like) if causal else None
    tiles = []
    for start in range(0, own, TILE):
        end = min(start + TILE, own)
        mask = None
        if tree is not None:
            mask = _added(tree[start:end, :end], rep, like)
        elif triangle is not None:
            mask = triangle[: (end - start) * rep, : end - start]
        tiles.append(Tile(slice(start * rep, end * rep), before + (end if causal else own), mask))
    return Tiles((len(group.lengths), heads[1], rep), (group.start, group.end), group.context, tuple(tiles))


def _added(sees: NDArray[np.bool_], rep: int, like: torch.Tensor) -> torch.Tensor:
    """`[rows, w]` zeros where a query sees a key, and minus infinity: every query sees at least itself."""
    hidden = torch.from_numpy(np.repeat(~sees, rep, axis=0)).to(like.device)
    return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, -torch.inf)


def in_tiles(query: torch.Tensor, dropout: float) -> bool:
    """Whether long blocks are computed here: on a CPU, where no weights are dropped."""
    return query.device.type == "cpu" and not dropout


class _TiledAttention(torch.autograd.Function):
    """Attention of all groups of long blocks over flat queries, keys and values, written into `out`."""

    @staticmethod
    def forward(
        ctx: Any, calls: Sequence[Tiles], scale: float, out: torch.Tensor, *tensors: torch.Tensor
    ) -> torch.Tensor:
        """See `attend_tiled`; `tensors` are queries, keys, values and, where there are any, learned keys and values."""
        query, key, value = tensors[:3]
        prefix = tensors[3:]
        # Scaled once here, small, instead of once per score.
        query = query * scale
        saved: list[torch.Tensor] = []
        for call in calls:
            rows, keys, values = _gather(call, query, key, value, prefix)
            result = torch.empty_like(rows)
            for at, tile, (weights, _) in _weights(call, rows, keys, 2):
                result[at, tile.rows] = weights @ values[at, : tile.keys]
            _put(call, result, out)
            saved.extend((rows, keys, values))
        ctx.calls, ctx.scale, ctx.shapes = calls, scale, [tensor.shape for tensor in tensors]
        ctx.mark_dirty(out)
        ctx.save_for_backward(*saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient = gradients[0]
        # Zeros, where short blocks are computed elsewhere.
        into_query, into_key, into_value = (gradient.new_zeros(shape) for shape in ctx.shapes[:3])
        learned = ctx.shapes[3][1] if len(ctx.shapes) > 3 else 0
        shared = Shared(learned, into_key.shape[1], into_key)
        saved = iter(ctx.saved_tensors)
        for call in ctx.calls:
            rows, keys, values = (next(saved) for _ in range(3))
            back = _by_head(call, gradient).reshape(rows.shape)
            by_query = torch.empty_like(rows)
            wide = torch.promote_types(rows.dtype, torch.float32)
            by_key, by_value = (torch.zeros(keys.shape, dtype=wide, device=keys.device) for _ in range(2))
            for at, tile, (weights, by_weight, by_score) in _weights(call, rows, keys, 3):
                seen = slice(tile.keys)
                some, one = back[at, tile.rows], rows[at, tile.rows]
                by_value[at, seen] += weights.transpose(1, 2) @ some
                torch.bmm(some, values[at, seen].transpose(1, 2), out=by_weight)
                torch.ops.aten._softmax_backward_data.out(by_weight, weights, -1, weights.dtype, grad_input=by_score)
                by_query[at, tile.rows] = by_score @ keys[at, seen]
                by_key[at, seen] += by_score.transpose(1, 2) @ one
            shared.add(call.context, *(by.unflatten(0, call.sizes[:2]) for by in (by_key, by_value)))
            for by, into in ((by_query.mul_(ctx.scale), into_query), (by_key, into_key), (by_value, into_value)):
                _put(call, by, into)
        shared.settle(into_key, into_value)
        return (
            None,
            None,
            gradient if ctx.needs_input_grad[2] else None,
            into_query,
            into_key,
            into_value,
            *shared.prefix,
        )


def _weights(
    call: Tiles, rows: torch.Tensor, keys: torch.Tensor, spaces: int
) -> Iterator[tuple[slice, Tile, list[torch.Tensor]]]:
    """Each tile of some heads with its weights `[b, rows, keys]`, and space for more of their shape.

    They are of use until the next is asked for, which takes their memory: tiles are large enough that the system would
    make new memory for each, and take it away.
    """
    heads, longest = len(rows), max((tile.rows.stop - tile.rows.start) * tile.keys for tile in call.tiles)
    memory = [rows.new_empty(min(max(AT_ONCE, longest), heads * longest)) for _ in range(spaces)]
    for tile in call.tiles:
        height = tile.rows.stop - tile.rows.start
        fit = max(1, AT_ONCE // (height * tile.keys))
        # Shares of like size rather than full ones and a rest.
        share = math.ceil(heads / math.ceil(heads / fit))
        for first in range(0, heads, share):
            at = slice(first, min(first + share, heads))
            shape = (at.stop - at.start, height, tile.keys)
            weights, scores, *more = (one[: math.prod(shape)].view(shape) for one in memory)
            torch.bmm(rows[at, tile.rows], keys[at, : tile.keys].transpose(1, 2), out=scores)
            if tile.mask is not None:
                scores[:, :, tile.keys - tile.mask.shape[1] :] += tile.mask
            torch.softmax(scores, -1, out=weights)
            yield at, tile, [weights, scores, *more]


def _by_head(call: Tiles, flat: torch.Tensor) -> torch.Tensor:
    """The group's part of flat `[N, heads, d]` queries or keys, as a view `[G, h, m, r or 1, d]`."""
    count, heads, _ = call.sizes
    start, end = call.span
    return flat[start:end].unflatten(0, (count, -1)).unflatten(2, (heads, -1)).transpose(1, 2)


def _put(call: Tiles, batched: torch.Tensor, flat: torch.Tensor) -> None:
    """Copy `[G * h, n, d]` to the group's place in `[N, heads, d]`; what stands before the blocks is left out."""
    place = _by_head(call, flat)
    own = place.shape[2] * place.shape[3]
    place.copy_(batched[:, batched.shape[1] - own :].reshape(place.shape))


def _gather(
    call: Tiles, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, prefix: Sequence[torch.Tensor]
) -> Three:
    """`[G * h, m * r, d]` queries and `[G * h, k, d]` keys and values."""
    count, heads, _ = call.sizes
    both = []
    for at, flat in enumerate((key, value)):
        parts = [*prefix[at : at + 1], *(flat[start:end].transpose(0, 1) for start, end in call.context)]
        own = _by_head(call, flat).squeeze(3)
        if parts:
            own = torch.cat([*(part.expand(count, *part.shape) for part in parts), own], dim=2)
        both.append(own.reshape(count * heads, -1, flat.shape[-1]))
    return _by_head(call, query).reshape(count * heads, -1, query.shape[-1]), both[0], both[1]


def attend_tiled(
    qkv: Three,
    calls: Sequence[Tiles],
    prefix: tuple[torch.Tensor, torch.Tensor] | None,
    scale: float,
    out: torch.Tensor | None,
) -> torch.Tensor:
    """Attention of long blocks.

    Args:
        qkv: `[N, heads, d]` queries and `[N, key heads, d]` keys and values.
        calls: The groups' tiles.
        prefix: Learned keys and values `[key heads, p, d]`, or None.
        scale: Factor on the scores.
        out: `[N, heads, d]` that holds what other groups gave, written into; or None.

    Returns:
        `out`, set at the tokens of the calls' groups.
    """
    room = qkv[0].new_empty(qkv[0].shape) if out is None else out
    found = _TiledAttention.apply(calls, scale, room, *qkv, *(prefix or ()))
    assert isinstance(found, torch.Tensor)
    return found
