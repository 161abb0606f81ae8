"""The order in which rows are seen: pure functions of seed and epoch, so that a run can resume anywhere.

Drawn from Philox counters (Salmon et al., 2011, https://doi.org/10.1145/2063384.2063405). Only raw draws and a
stable sort are used: NumPy promises the raw stream for good, but not the algorithms of `Generator`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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


def batches(
    lengths: Sequence[int], batch_size: int, seed: int, epoch: int, group_by_length: bool
) -> list[tuple[int, ...]]:
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
    rows = permutation(seed, epoch, len(lengths)).tolist()
    if group_by_length:
        block = _MEGA_BATCH * batch_size
        rows = [
            row
            for start in range(0, len(rows), block)
            for row in sorted(rows[start : start + block], key=lambda index: -lengths[index])
        ]
    cut = [tuple(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]
    if group_by_length:
        cut = [cut[index] for index in _permutation(f"batches:{seed}:{epoch}", len(cut))]
    return cut


def _permutation(name: str, size: int) -> NDArray[np.int64]:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    draws = np.random.Philox(key=key).random_raw(size)
    return np.argsort(draws, kind="stable").astype(np.int64)
