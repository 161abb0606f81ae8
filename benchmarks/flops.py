"""Useful arithmetic of a training step: what has to be computed, not what happens to be.

Per token of the body: 2 operations per weight forward, 2 for the gradient of its states, 2 for that of the weight where
the weight is trained; attention 4 x heads x width per token read, and twice that backward; the output layer at scored
positions alone. No padding, no recomputation, no second pass over a shared beginning when distinct tokens are counted.
A row's last token is not counted: its state predicts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.rows import IGNORED, Encoded


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a decoder costs arithmetic.

    Attributes:
        body: Weights of the linear maps of the repeated blocks.
        head: Weights of the output layer.
        attention: Layers x heads x width of a head.
        lora: Weights added beside the body's, all trained.
        full: Whether body and output layer are trained.
    """

    body: int
    head: int
    attention: int
    lora: int = 0
    full: bool = False


def training_flops(shape: Shape, steps: Iterable[Sequence[Encoded]]) -> dict[str, float]:
    """Useful arithmetic of some training steps.

    Returns:
        `distinct`: each token of a step's trie computed once; `rows`: each token of each row.
    """
    totals = {"distinct": 0.0, "rows": 0.0}
    per_token = (6.0 if shape.full else 4.0) * shape.body + 6.0 * shape.lora
    per_read = 3 * 4.0 * shape.attention
    for rows in steps:
        scored = sum(label != IGNORED for row in rows for label in row.labels)
        head = (6.0 if shape.full else 4.0) * shape.head * scored
        for kind, places in (("distinct", trie_positions(rows)), ("rows", row_positions(rows))):
            totals[kind] += per_token * len(places) + per_read * sum(at + 1 for at in places) + head
    return totals


def row_positions(rows: Sequence[Encoded]) -> list[int]:
    """Position of every token of every row but the last of each."""
    return [at for row in rows for at in range(len(row) - 1)]


def trie_positions(rows: Sequence[Encoded]) -> list[int]:
    """Position of every distinct token: those of the trie of the rows."""
    positions: list[int] = []
    before: tuple[int, ...] = ()
    for ids in sorted(row.ids[:-1] for row in rows):
        pairs = zip(before, ids, strict=False)
        known = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(before), len(ids)))
        positions.extend(range(known, len(ids)))
        before = ids
    return positions
