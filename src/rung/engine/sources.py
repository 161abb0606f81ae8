"""Where micro-batches come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from rung.data.order import Batches, batches
from rung.types import Batch, Row


class BatchSource(Protocol):
    """Gives the micro-batches of any optimizer step: nothing but the step's number, and the weights, decides.

    It is asked once a step, before any loss: a source may let the weights of that moment write its rows.
    """

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass."""
        ...

    def step(self, number: int) -> list[Batch]:
        """The micro-batches of optimizer step `number`, counted from 0."""
        ...


class DatasetSource:
    """Rows in a counter-based order: a pure function of seed, epoch and index.

    Args:
        rows: The encoded rows.
        batch_size: Rows of a micro-batch.
        accumulation: Micro-batches of a step.
        seed: Seed of the order.
        group_by_length: Whether rows of like length share a micro-batch.

    Attributes:
        lengths: `[rows]` tokens of each row.
    """

    def __init__(
        self, rows: Sequence[Row], batch_size: int, accumulation: int, seed: int, group_by_length: bool
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.accumulation = accumulation
        self.seed = seed
        self.group_by_length = group_by_length
        self.lengths = np.fromiter(
            (sum(sequence.size for sequence in row.sequences) for row in rows), dtype=np.int32, count=len(rows)
        )
        self._epoch: tuple[int, Batches] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one pass; the last may be short."""
        return math.ceil(math.ceil(len(self.rows) / self.batch_size) / self.accumulation)

    def step(self, number: int) -> list[Batch]:
        """The micro-batches of a step; each row of an epoch comes exactly once."""
        return [Batch(tuple(self.rows[index] for index in indices)) for indices in self.indices(number)]

    def indices(self, number: int) -> Sequence[tuple[int, ...]]:
        """The rows of a step's micro-batches, by their numbers."""
        epoch, within = divmod(number, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            cut = batches(self.lengths, self.batch_size, self.seed, epoch, self.group_by_length)
            self._epoch = (epoch, cut)
        return self._epoch[1][within * self.accumulation : (within + 1) * self.accumulation]

    def tokens(self, indices: Sequence[int]) -> int:
        """Tokens of rows, by their numbers."""
        return int(self.lengths[list(indices)].sum())
