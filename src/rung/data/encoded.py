"""Encoded rows kept in a file: token ids as 32-bit integers, and a few words about each row before them."""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Iterable
from typing import Any, Self

from rung.data.spool import Spool
from rung.data.views import View
from rung.types import Row, Tokens

_SIZE = struct.Struct("<I")
_PARTS = ("input_ids", "labels", "token_type_ids", "source_ids")


class EncodedRows(View[Row]):
    """Rows made anew at each access, equal to those that were added; memory holds eight bytes for each.

    Args:
        rows: Rows to begin with.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._spool = Spool()
        self.extend(rows)

    def extend(self, rows: Iterable[Row]) -> Self:
        """Add rows at the end.

        Raises:
            StorageError: The disk is full.
        """
        for row in rows:
            self._spool.append(_packed(row))
        return self

    def __len__(self) -> int:
        return len(self._spool)

    def item(self, index: int) -> Row:
        """Read it back."""
        return _unpacked(self._spool.item(index))


def _packed(row: Row) -> bytes:
    """The size of the head, the head as JSON (what each part's length is among it), and all token ids."""
    ids = array("i")
    sequences: list[list[Any]] = []
    for sequence in row.sequences:
        parts = [getattr(sequence, name) for name in _PARTS]
        for part in parts:
            ids.extend(part or ())
        sequences.append([sequence.adapter, *(None if part is None else len(part) for part in parts)])
    head = json.dumps((row.id, row.target, row.truncated, sequences), separators=(",", ":"))
    assert _frozen(json.loads(head)[1]) == row.target, f"a target is made of tuples, texts and numbers: {row.target!r}"
    return b"".join((_SIZE.pack(len(head)), head.encode("ascii"), ids.tobytes()))


def _unpacked(data: bytes) -> Row:
    start = _SIZE.size + _SIZE.unpack_from(data)[0]
    id, target, truncated, sequences = json.loads(data[_SIZE.size : start])
    ids = array("i")
    ids.frombytes(data[start:])
    made, at = [], 0
    for adapter, *lengths in sequences:
        parts: list[tuple[int, ...] | None] = []
        for length in lengths:
            parts.append(None if length is None else tuple(ids[at : at + length]))
            at += length or 0
        made.append(Tokens(parts[0] or (), *parts[1:], adapter=adapter))
    return Row(id, tuple(made), _frozen(target), truncated)


def _frozen(value: Any) -> Any:
    """JSON's lists as the tuples they were."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
