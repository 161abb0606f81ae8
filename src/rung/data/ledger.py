"""The ledger of rows: each row of each file ends in exactly one bucket, and the sums are checked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BUCKETS = {
    "train": "train",
    "validation": "validation",
    "test": "test",
    "empty_text": "without text",
    "missing_label": "without a label",
    "duplicate": "removed as exact duplicates",
    "near_duplicate": "removed as near duplicates of another split's rows",
    "empty_answer": "removed for an answer that says nothing",
    "refusal": "removed for an answer that declines",
    "toxic": "removed for abuse",
    "contaminated": "removed for test text in them",
    "near_repeat": "removed as near duplicates of earlier train rows",
    "length_outlier": "removed for their length",
    "over_limit": "over the row limit",
    "over_cap": "over the mixture's cap",
    "held_out": "of a cluster that is held out, and has a test file",
    "blank_line": "blank lines",
}
"""Bucket name to its words in a sentence."""

_NAMES = tuple(BUCKETS)
_NOWHERE = -1


class Ledger:
    """Where each row of each file went.

    A file's rows are numbered from 0. A row is placed once; placing it twice, or not at all, is our own error and
    fails an assertion.
    """

    def __init__(self) -> None:
        self._files: dict[str, NDArray[np.int8]] = {}

    def open(self, path: str, rows: int, blank_lines: int = 0) -> None:
        """Take up a file of `rows` rows, none placed yet, and its blank lines."""
        assert path not in self._files, f"{path} is already in the ledger"
        self._files[path] = np.full(rows + blank_lines, _NOWHERE, dtype=np.int8)
        self._files[path][rows:] = _NAMES.index("blank_line")

    def place(self, path: str, index: int, bucket: str) -> None:
        """Put row `index` of a file into a bucket."""
        assert bucket in BUCKETS, f"unknown bucket {bucket!r}"
        before = self._files[path][index]
        assert before == _NOWHERE, f"row {index} of {path} is already in {_NAMES[before]!r}"
        self._files[path][index] = _NAMES.index(bucket)

    def place_all(self, path: str, indices: NDArray[np.int64], bucket: str) -> None:
        """Put several rows of a file into a bucket."""
        placed = np.flatnonzero(self._files[path][indices] != _NOWHERE)
        if len(placed):
            self.place(path, int(indices[placed[0]]), bucket)
        self._files[path][indices] = _NAMES.index(bucket)

    def include(self, other: Ledger) -> None:
        """Take in another ledger's files."""
        for path, rows in other._files.items():
            assert path not in self._files, f"{path} is already in the ledger"
            self._files[path] = rows.copy()

    def counts(self, path: str | None = None) -> dict[str, int]:
        """Bucket name to its number of rows, of one file or of all; empty buckets are left out."""
        files = self._files.values() if path is None else [self._files[path]]
        found = sum(
            (np.bincount(rows + 1, minlength=len(_NAMES) + 1)[1:] for rows in files), np.zeros(len(_NAMES), int)
        )
        return {bucket: int(count) for bucket, count in zip(_NAMES, found, strict=True) if count}

    def rows(self, path: str | None = None) -> int:
        """Number of rows (blank lines included) of one file or of all."""
        return len(self._files[path]) if path is not None else sum(map(len, self._files.values()))

    def check(self) -> None:
        """Check that each row is in one bucket.

        Raises:
            AssertionError: A row is in no bucket.
        """
        for path in self._files:
            placed = sum(self.counts(path).values())
            assert placed == self.rows(path), f"{path}: {self.rows(path)} rows, but {placed} are in a bucket"

    def as_dict(self) -> dict[str, dict[str, int]]:
        """File to its number of `rows` and the rows of each bucket."""
        return {path: {"rows": self.rows(path), **self.counts(path)} for path in self._files}

    def sentences(self) -> tuple[str, ...]:
        """One sentence per file: how many rows it has and where they went."""
        return tuple(
            f"{path}: {self.rows(path):,} rows: "
            + ", ".join(f"{count:,} {BUCKETS[bucket]}" for bucket, count in self.counts(path).items())
            + "."
            for path in self._files
        )
