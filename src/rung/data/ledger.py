"""The ledger of rows: each row of each file ends in exactly one bucket, and the sums are checked."""

from __future__ import annotations

from collections import Counter

BUCKETS = {
    "train": "train",
    "validation": "validation",
    "test": "test",
    "empty_text": "without text",
    "missing_label": "without a label",
    "duplicate": "removed as exact duplicates",
    "near_duplicate": "removed as near duplicates of another split's rows",
    "over_limit": "over the row limit",
    "blank_line": "blank lines",
}
"""Bucket name to its words in a sentence."""


class Ledger:
    """Where each row of each file went.

    A file's rows are numbered from 0. A row is placed once; placing it twice, or not at all, is our own error and
    fails an assertion.
    """

    def __init__(self) -> None:
        self._files: dict[str, list[str | None]] = {}

    def open(self, path: str, rows: int, blank_lines: int = 0) -> None:
        """Take up a file of `rows` rows, none placed yet, and its blank lines."""
        assert path not in self._files, f"{path} is already in the ledger"
        self._files[path] = [None] * rows + ["blank_line"] * blank_lines

    def place(self, path: str, index: int, bucket: str) -> None:
        """Put row `index` of a file into a bucket."""
        assert bucket in BUCKETS, f"unknown bucket {bucket!r}"
        before = self._files[path][index]
        assert before is None, f"row {index} of {path} is already in {before!r}"
        self._files[path][index] = bucket

    def include(self, other: Ledger) -> None:
        """Take in another ledger's files."""
        for path, rows in other._files.items():
            assert path not in self._files, f"{path} is already in the ledger"
            self._files[path] = list(rows)

    def counts(self, path: str | None = None) -> dict[str, int]:
        """Bucket name to its number of rows, of one file or of all; empty buckets are left out."""
        files = self._files.values() if path is None else [self._files[path]]
        found = Counter(bucket for rows in files for bucket in rows if bucket is not None)
        return {bucket: found[bucket] for bucket in BUCKETS if found[bucket]}

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
