"""Parquet files, folders written by `datasets.save_to_disk`, and hub data sets; no code of theirs is run."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import datasets
import datasets.exceptions
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub.errors import HfHubHTTPError

from rung.data.parsed import Parsed
from rung.data.spool import JsonSpool
from rung.data.views import Mapped
from rung.errors import DataError, unknown

_AT_ONCE = 1_000


def parse_parquet(path: str, file: BinaryIO) -> Parsed:
    """Rows of a parquet file.

    Raises:
        DataError: It can't be read, or has no rows.
    """
    try:
        parquet = pq.ParquetFile(file)
        rows = (row for batch in parquet.iter_batches(_AT_ONCE) for row in batch.to_pylist())
        return _parsed(path, tuple(parquet.schema_arrow.names), rows)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable parquet file: {error}", "Write it again.") from None


def parse_folder(path: str, split: str | None) -> tuple[Parsed, str]:
    """Rows of a folder written by `datasets.save_to_disk`, and the SHA-256 of its files.

    Raises:
        DataError: It is no such folder, or has no such split.
    """
    try:
        found = datasets.load_from_disk(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"{path}: not a data set folder: {error}", "Give a file, or a folder of save_to_disk."
        ) from None
    content = hashlib.sha256()
    for file in sorted(file for file in Path(path).rglob("*") if file.is_file()):
        content.update(f"{file.relative_to(path)}\0".encode())
        with file.open("rb") as stored:
            content.update(hashlib.file_digest(stored, "sha256").digest())
    return _from_dataset(path, found, split), content.hexdigest()


def parse_hub(name: str, split: str | None) -> tuple[Parsed, str]:
    """Rows of a hub data set, and the SHA-256 of its rows.

    Raises:
        DataError: It can't be fetched, needs code to be read, or has no such split.
    """
    try:
        found = datasets.load_dataset(name)
    except (OSError, ValueError, RuntimeError, HfHubHTTPError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        todo = "Check the name and the network, or give a file."
        raise DataError(f"{name}: not a file, and not to be had as a hub data set: {reason}", todo) from None
    parsed = _from_dataset(name, found, split)
    content = hashlib.sha256(b"[")
    for number, (fields, _) in enumerate(parsed.rows):
        content.update(f"{', ' if number else ''}{json.dumps(fields, sort_keys=True)}".encode())
    content.update(b"]")
    return parsed, content.hexdigest()


def _from_dataset(path: str, found: Any, split: str | None) -> Parsed:
    if not isinstance(found, datasets.DatasetDict):
        if split is not None:
            raise DataError(f"{path}#{split}: the data set has no splits", f"Write {path}.")
        return _parsed(path, tuple(found.column_names), _named_labels(found))
    names = [str(name) for name in found]
    chosen = split or ("train" if "train" in names else names[0])
    if chosen not in names:
        raise DataError(f"{path}: {unknown('split', chosen, names)}", f"Write {path}#{names[0]}.")
    parsed = _parsed(path, tuple(found[chosen].column_names), _named_labels(found[chosen]))
    note = f"{path} has the splits {', '.join(names)}: {chosen} is read; {path}#NAME reads another."
    return parsed if split else Parsed(parsed.columns, parsed.rows, notes=(note,))


def _named_labels(found: datasets.Dataset) -> Iterable[dict[str, Any]]:
    """Rows with class numbers replaced by the class names that the data set declares."""
    names = {column: kind for column, kind in found.features.items() if isinstance(kind, datasets.ClassLabel)}
    for values in found:
        row: dict[str, Any] = dict(values)
        for column, kind in names.items():
            value = row[column]
            row[column] = None if value is None or value < 0 else kind.int2str(value)
        yield row


def _parsed(path: str, columns: tuple[str, ...], rows: Iterable[dict[str, Any]]) -> Parsed:
    found = JsonSpool(
        ({name: _plain(value) for name, value in row.items()}, number) for number, row in enumerate(rows, start=1)
    )
    if not len(found):
        raise DataError(f"{path} has no rows", "Give at least one row.")
    return Parsed(columns, Mapped(found, lambda kept: (kept[0], f"{path}:row {kept[1]}")))


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it, so that rows can be written and read back unchanged."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, Decimal) or not isinstance(value, (str, int, float, bool, type(None))):
        return str(value)
    return value
