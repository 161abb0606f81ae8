"""Writing rows: splits that read back exactly, and tables of predictions that open safely in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rung.data.content import as_text
from rung.data.parsed import FIELDS, ID, SOURCE
from rung.errors import DataError, StorageError
from rung.types import Record

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_jsonl(path: str | Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines that `readers.read` turns into equal records: ids, fields and sources.

    Raises:
        StorageError: The file can't be written; what stood there before is untouched.
    """
    lines = []
    for record in records:
        fields = dict(record.fields)
        body = {FIELDS: fields} if fields.keys() & {ID, SOURCE, FIELDS} else fields
        lines.append(json.dumps({ID: record.id, SOURCE: record.source, **body}, ensure_ascii=False, allow_nan=False))
    _write(Path(path), "".join(f"{line}\n" for line in lines))


def write_table(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows, such as predictions, as CSV or JSON lines, by the file name.

    In CSV a text that a spreadsheet would run as a formula (it starts with = + - @) gets a ' before it.

    Args:
        path: Ends in `.csv` or `.jsonl`.
        columns: The columns to write, in order; a row without one gets an empty value.
        rows: The rows.

    Raises:
        DataError: The file name has another ending.
        StorageError: The file can't be written; what stood there before is untouched.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".jsonl":
        picked = ({column: row.get(column) for column in columns} for row in rows)
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in picked)
    elif suffix == ".csv":
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([_cell(column) for column in columns])
        writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
        text = buffer.getvalue()
    else:
        raise DataError(f"{path}: can't write {suffix or 'a file without an ending'}", "Use .csv or .jsonl.")
    _write(Path(path), text)


def _cell(value: Any) -> str:
    text = as_text(value)
    is_formula = not isinstance(value, (int, float)) and text.startswith(_FORMULA_STARTS)
    return f"'{text}" if is_formula else text


def _write(path: Path, text: str) -> None:
    """Replace the file in one step, so that a crash leaves the old file or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"{path}: can't be written: {error.strerror}", "Check the folder and the space.") from None
