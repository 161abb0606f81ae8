"""The records of a file: what they hold is on the disk, and memory has about twenty bytes for each."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.data.content import FIELD_END, as_text, digest, normalise
from rung.data.digests import repeats
from rung.data.jsonrows import is_ours, own_fields
from rung.data.parsed import ID, SOURCE
from rung.data.views import View, reader
from rung.types import Record

_STEM = 16


class Records(View[Record]):
    """Records made of a file's rows when they are asked for.

    Args:
        rows: (fields, source) per row.
        stems: `[rows]` number of each row's content.
        earlier: `[rows]` rows of equal content before it.
    """

    def __init__(
        self, rows: Sequence[tuple[Mapping[str, Any], str]], stems: NDArray[np.uint64], earlier: NDArray[np.int32]
    ) -> None:
        self._row = reader(rows)
        self._stems = stems
        self._earlier = earlier

    def __len__(self) -> int:
        return len(self._stems)

    def item(self, index: int) -> Record:
        """The record; one that Rung wrote has the id and the source it was written with."""
        fields, source = self._row(index)
        if is_ours(fields):
            return Record(id=fields[ID], fields=own_fields(fields), source=fields[SOURCE])
        stem, earlier = f"{self._stems[index]:0{_STEM}x}", self._earlier[index]
        return Record(id=f"{stem}-{earlier}" if earlier else stem, fields=fields, source=source)


def identify(rows: Sequence[tuple[Mapping[str, Any], str]]) -> Records:
    """Records from (fields, source) pairs, each with an id made of its content.

    Rows of equal content get `-1`, `-2`, ... after the id, in file order, so ids are unique within a file and
    stay the same when other rows are added or moved. Rows that Rung wrote keep their id and source.
    """
    stems = array("Q")
    fresh = bytearray()
    for fields, _ in rows:
        is_fresh = not is_ours(fields)
        fresh.append(is_fresh)
        stems.append(int(digest(_content(fields))[:_STEM], 16) if is_fresh else 0)
    numbers = np.array(stems, dtype=np.uint64)
    earlier = np.zeros(len(numbers), dtype=np.int32)
    chosen = np.frombuffer(fresh, dtype=bool) if fresh else np.zeros(0, dtype=bool)
    earlier[chosen] = repeats(numbers[chosen])
    return Records(rows, numbers, earlier)


def _content(fields: Mapping[str, Any]) -> str:
    return FIELD_END.join(f"{name}={normalise(as_text(value))}" for name, value in sorted(fields.items()))
