"""What each format's parser gives back, whatever the format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Format = Literal["csv", "tsv", "jsonl", "json", "parquet"]
"""File formats that can be read."""

ID, SOURCE, FIELDS = "_id", "_source", "_fields"
"""Keys of rows that Rung itself wrote. `_fields` holds the columns where one of them has such a name."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file's rows before they get ids.

    Attributes:
        columns: Column names in file order.
        rows: (fields, source) per row.
        blank_lines: Lines without content, skipped.
        notes: Sentences on what was guessed.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[dict[str, Any], str]]
    blank_lines: int = 0
    notes: tuple[str, ...] = ()
