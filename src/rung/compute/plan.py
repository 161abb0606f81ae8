"""The shared-prefix plan: which tokens are computed, in what order, and who attends to whom.

Sequences that begin with the same tokens compute those tokens once. The batch's token ids form a trie; its
nodes are laid out as one flat run of tokens without padding. A node either becomes *context* (its keys and
values are read by everything below it) or, together with a small subtree, one *block* with a tree mask (label
choices, the two answers of a preference pair). Blocks of like length under the same context stand side by side
and form a *group*: one attention call, in which alone the shorter ones are filled up.

The plan is a pure function of the token ids, so a run repeated gives the same kernels and the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rung.compute.trie import Node, leaf, trie

MAX_BLOCK = 192
"""Subtrees up to this many tokens become one block with a tree mask; larger ones share by context."""

MAX_DENSE = 256
"""Blocks up to this many tokens may be filled up to a common length: their attention is dense matrix products."""
MAX_KEYS = 1024
"""Blocks that see more keys than this never are: the scores of all of them would not fit in the caches."""
FILL = 0.6
"""A group's shortest block has at least this share of its longest's tokens, beyond `ALWAYS` tokens."""
ALWAYS = 24

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Group:
    """Blocks computed by one attention call.

    Attributes:
        start: Index of the first flat token; the blocks follow each other.
        lengths: Tokens of each block, the longest first.
        context: Flat ranges every block attends to, in order; `c` tokens in all.
        trees: Per block `[m, m]` who attends to whom inside it; None = causal (or full, for a bidirectional plan).
    """

    start: int
    lengths: tuple[int, ...]
    context: tuple[tuple[int, int], ...] = ()
    trees: tuple[NDArray[np.bool_] | None, ...] = ()

    @property
    def end(self) -> int:
        """Index after the last flat token."""
        return self.start + sum(self.lengths)

    @property
    def longest(self) -> int:
        """Tokens of the longest block."""
        return self.lengths[0]

    @property
    def keys(self) -> int:
        """Keys that the longest block sees."""
        return self.longest + sum(end - start for start, end in self.context)

    @property
    def dense(self) -> bool:
        """Whether the scores of all its blocks may be held at one time."""
        return _is_dense(self.longest, self.keys)


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch laid out flat.

    Attributes:
        tokens: `[N]` token ids.
        positions: `[N]` position of each token in its sequence.
        index: Per sequence `[T]` the flat index of each of its tokens.
        groups: The attention calls, in flat order, covering all tokens.
        adapters: Flat ranges and the adapter each runs through; neighbours differ.
        causal: Whether attention is causal.
    """

    tokens: Ints
    positions: Ints
    index: tuple[Ints, ...]
    groups: tuple[Group, ...]
    adapters: tuple[tuple[str | None, int, int], ...]
    causal: bool = True


@dataclass(frozen=True, slots=True)
class _Block:
    """A node, or a whole subtree, to be computed by one row of an attention call."""

    nodes: tuple[Node, ...]
    parents: tuple[int, ...]
    context: tuple[Node, ...]
    adapter: str | None

    @property
    def length(self) -> int:
        return sum(node.length for node in self.nodes)

    @property
    def keys(self) -> int:
        return self.length + sum(node.length for node in self.context)

    def shape(self) -> tuple[object, ...]:
        """Blocks under one adapter and context share an attention call, if they are short or of the same shape."""
        over = (self.adapter, tuple(id(node) for node in self.context))
        if _is_dense(self.length, self.keys):
            return over
        return (*over, tuple(node.length for node in self.nodes), self.parents)


def plan_causal(
    sequences: Sequence[Sequence[int]], adapters: Sequence[str | None] | None = None, share: bool = True
) -> Plan:
    """Lay out causal sequences, computing equal beginnings once.

    Args:
        sequences: Token ids per sequence, each non-empty.
        adapters: Adapter per sequence; sequences of different adapters share nothing.
        share: False keeps every sequence apart (the plain path).

    Returns:
        The plan.
    """
    names = list(adapters) if adapters is not None else [None] * len(sequences)
    blocks: list[_Block] = []
    for name in sorted(set(names), key=lambda name: (name is not None, name or "")):
        rows = [row for row, other in enumerate(names) if other == name]
        roots = trie(sequences, rows) if share else [leaf(sequences, row) for row in rows]
        for root in roots:
            _lay(root, (), name, blocks)
    return _place(sequences, blocks, causal=True)


def plan_bidirectional(sequences: Sequence[Sequence[int]], adapters: Sequence[str | None] | None = None) -> Plan:
    """Lay out bidirectional sequences: nothing can be shared, equal lengths stand side by side."""
    names = list(adapters) if adapters is not None else [None] * len(sequences)
    blocks = [_Block((leaf(sequences, row),), (-1,), (), names[row]) for row in range(len(sequences))]
    return _place(sequences, blocks, causal=False)


def _lay(root: Node, context: tuple[Node, ...], adapter: str | None, blocks: list[_Block]) -> None:
    stack = [(root, context)]
    while stack:
        node, above = stack.pop()
        if not node.children:
            blocks.append(_Block((node,), (-1,), above, adapter))
        elif node.size <= MAX_BLOCK:
            nodes, parents = _flatten(node)
            blocks.append(_Block(nodes, parents, above, adapter))
        else:
            blocks.append(_Block((node,), (-1,), above, adapter))
            stack.extend((child, (*above, node)) for child in reversed(node.children))


def _flatten(root: Node) -> tuple[tuple[Node, ...], tuple[int, ...]]:
    """A subtree in depth-first order, with the place of each node's parent (-1 for the root)."""
    nodes: list[Node] = []
    parents: list[int] = []
    stack = [(root, -1)]
    while stack:
        node, parent = stack.pop()
        parents.append(parent)
        nodes.append(node)
        here = len(nodes) - 1
        stack.extend((child, here) for child in reversed(node.children))
    return tuple(nodes), tuple(parents)


def _is_dense(length: int, keys: int) -> bool:
    return length <= MAX_DENSE and keys <= MAX_KEYS


def _place(sequences: Sequence[Sequence[int]], blocks: list[_Block], causal: bool) -> Plan:
    """Order the blocks by group, give every token its flat place, and note who reads what."""
    tokens: list[int] = []
    positions: list[int] = []
    index = [np.empty(len(sequence), dtype=np.int64) for sequence in sequences]
    place: dict[int, tuple[int, int]] = {}
    groups: list[tuple[int, list[_Block]]] = []
    adapters: list[tuple[str | None, int, int]] = []
    for members in _grouped(blocks):
        start = len(tokens)
        for block in members:
            for node in block.nodes:
                at = len(tokens)
                tokens.extend(sequences[node.rows[0]][node.start : node.end])
                positions.extend(range(node.start, node.end))
                place[id(node)] = (at, len(tokens))
                for row in node.rows:
                    index[row][node.start : node.end] = np.arange(at, len(tokens))
        groups.append((start, members))
        name = members[0].adapter
        if adapters and adapters[-1][0] == name:
            start = adapters.pop()[1]
        adapters.append((name, start, len(tokens)))
    return Plan(
        tokens=np.asarray(tokens, dtype=np.int64),
        positions=np.asarray(positions, dtype=np.int64),
        index=tuple(index),
        groups=tuple(_group(start, members, place) for start, members in groups),
        adapters=tuple(adapters),
        causal=causal,
    )


def _grouped(blocks: list[_Block]) -> list[list[_Block]]:
    """The blocks of each attention call, longest first: of one context, and of like length."""
    by_shape: dict[tuple[object, ...], list[_Block]] = {}
    for block in blocks:
        by_shape.setdefault(block.shape(), []).append(block)
    groups: list[list[_Block]] = []
    for members in by_shape.values():
        longest = 0
        for block in sorted(members, key=lambda block: -block.length):
            if (longest <= ALWAYS and longest) or block.length >= FILL * longest > 0:
                groups[-1].append(block)
            else:
                groups.append([block])
                longest = block.length
    return groups


def _group(start: int, members: list[_Block], place: dict[int, tuple[int, int]]) -> Group:
    trees = tuple(_tree_mask(block) if len(block.nodes) > 1 else None for block in members)
    context = tuple(place[id(node)] for node in members[0].context)
    return Group(start, tuple(block.length for block in members), context, trees)


def _tree_mask(block: _Block) -> NDArray[np.bool_]:
    """`[m, m]`: a token attends to its node up to itself and to all of its node's ancestors."""
    size = block.length
    starts = np.cumsum([0, *(node.length for node in block.nodes)])
    mask = np.zeros((size, size), dtype=np.bool_)
    for number, node in enumerate(block.nodes):
        rows = slice(starts[number], starts[number + 1])
        mask[rows, rows] = np.tri(node.length, dtype=np.bool_)
        above = block.parents[number]
        while above >= 0:
            mask[rows, starts[above] : starts[above + 1]] = True
            above = block.parents[above]
    return mask
