"""All rows of all files, one after the other, and where each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rung.types import Record

SPLITS = ("train", "validation", "test")
"""The splits, in the order in which rows are taken from one in favour of the next."""

ASIDE = (
    "empty_text", "missing_label", "duplicate", "near_duplicate", "over_limit",
    "empty_answer", "refusal", "toxic", "contaminated", "near_repeat", "length_outlier",
)  # fmt: skip
"""Buckets of rows that are in no split."""

FREE = -1
"""Of a row in a split."""


@dataclass(slots=True)
class Rows:
    """All rows of all files, one after the other; about fifty bytes for each.

    Attributes:
        records: What they hold.
        texts: `[rows, 2]` digests of their normalised texts.
        same: `[rows]` first row of the same text.
        split: `[rows]` index in `SPLITS`.
        bucket: `[rows]` index in `ASIDE` of a row set aside, else `FREE`.
    """

    records: Sequence[Record]
    texts: NDArray[np.uint64]
    same: NDArray[np.int64]
    split: NDArray[np.int8]
    bucket: NDArray[np.int8]

    def of(self, *splits: str) -> NDArray[np.int64]:
        """The rows of these splits that are not set aside."""
        wanted = [SPLITS.index(name) for name in splits]
        return np.flatnonzero((self.bucket == FREE) & np.isin(self.split, wanted))

    def put_aside(self, rows: NDArray[np.int64], bucket: str) -> None:
        """Set rows aside."""
        self.bucket[rows] = ASIDE.index(bucket)
