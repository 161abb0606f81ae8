"""The order in which rows are seen: pure functions of seed and epoch, so that a run can resume anywhere.

Drawn from Philox counters (Salmon et al., 2011, https://doi.org/10.1145/2063384.2063405). Only raw draws and a
stable sort are used: NumPy promises the raw stream for good, but not the algorithms of `Generator`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rung.data.views import View

_MEGA_BATCH = 50


def permutation(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    """A permutation of `0 .. size - 1`.

    Args:
        seed: The run's seed.
        epoch: The epoch, from 0.
        size: Number of rows.

    Returns:
        `[size]` row indices; the same for the same arguments on every machine.
    """
    return _permutation(f"rows:{seed}:{epoch}", size)


class Batches(View[tuple[int, ...]]):
    """The batches of an epoch, each made when it is asked for; memory holds eight bytes a row.

    Args:
        rows: `[rows]` row indices, batch after batch.
        batch_size: Rows per batch; the last may be short.
        order: `[batches]` which batch comes when; None = as they stand.
    """

    def __init__(self, rows: NDArray[np.int64], batch_size: int, order: NDArray[np.int64] | None) -> None:
        self._rows = rows
        self._batch_size = batch_size
        self._order = order

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def item(self, index: int) -> tuple[int, ...]:
        """The row indices of a batch."""
        place = index if self._order is None else int(self._order[index])
        return tuple(self._rows[place * self._batch_size : (place + 1) * self._batch_size].tolist())


def batches(
    lengths: Sequence[int] | NDArray[np.int32], batch_size: int, seed: int, epoch: int, group_by_length: bool
) -> Batches:
    """The canonical batches of an epoch: each row once, the last batch of a pass may be short.

    Args:
        lengths: `[rows]` length of each row in tokens.
        batch_size: Rows per batch.
        seed: The run's seed.
        epoch: The epoch, from 0.
        group_by_length: Put rows of like length together: rows are sorted, longest first, within shuffled blocks of
            50 batches, and the batches are then shuffled.

    Returns:
        Row indices, batch by batch.
    """
    assert batch_size >= 1, f"batch_size={batch_size}"
    rows = permutation(seed, epoch, len(lengths))
    if not group_by_length:
        return Batches(rows, batch_size, None)
    along = np.asarray(lengths, dtype=np.int64)[rows]
    block = np.arange(len(rows)) // (_MEGA_BATCH * batch_size)
    found = rows[np.lexsort((-along, block))]
    return Batches(found, batch_size, _permutation(f"batches:{seed}:{epoch}", -(-len(rows) // batch_size)))


def _permutation(name: str, size: int) -> NDArray[np.int64]:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    draws = np.random.Philox(key=key).random_raw(size)
    return np.argsort(draws, kind="stable").astype(np.int64)
