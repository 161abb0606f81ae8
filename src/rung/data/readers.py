"""Reading a file into records, whatever its format, with an id, a source and a place in the ledger for each row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from rung.data.delimited import parse_delimited, sniff_delimiter
from rung.data.jsonrows import parse_json, parse_jsonl
from rung.data.ledger import Ledger
from rung.data.parsed import Format, Parsed
from rung.data.records import identify
from rung.data.texts import Text, open_stored
from rung.errors import DataError, nearest, unknown
from rung.types import Record

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_FORMATS: tuple[str, ...] = get_args(Format)
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True, slots=True)
class Table:
    """A file as read.

    Attributes:
        path: As the user wrote it.
        columns: Column names in file order.
        records: One per row, in file order, made when asked for: the rows are kept on the disk.
        sha256: Of the file's bytes (of a folder: of its files; of a hub data set: of its rows).
        ledger: The file's rows, none placed yet but blank lines.
        notes: Sentences on what was guessed (a file without header, a name that belies the content).
    """

    path: str
    columns: tuple[str, ...]
    records: Sequence[Record]
    sha256: str
    ledger: Ledger
    notes: tuple[str, ...] = field(default=())


def read(path: str, format: str | None = None) -> Table:
    """Read a file (also `.gz`), a folder of `datasets.save_to_disk`, or a hub data set (`owner/name#split`).

    Args:
        path: Where it is.
        format: One of csv, tsv, jsonl, json, parquet; None: told from the name and the content.

    Raises:
        DataError: It is missing, empty, of an unknown format, or malformed (with file and line).
    """
    if format is not None and format not in _FORMATS:
        raise DataError(f"format={format}: {unknown('format', format, _FORMATS)}", "Set data.format to one of them.")
    name, _, split = path.partition("#")
    if not Path(path).exists() and (Path(name).is_dir() or (not Path(name).exists() and _is_hub_id(name))):
        parsed, sha256 = _read_data_set(name, split or None)
    elif Path(path).is_dir():
        parsed, sha256 = _read_data_set(path, None)
    else:
        parsed, sha256 = _read_file(path, format)
    ledger = Ledger()
    ledger.open(path, len(parsed.rows), parsed.blank_lines)
    return Table(path, parsed.columns, identify(parsed.rows), sha256, ledger, parsed.notes)


def _is_hub_id(name: str) -> bool:
    suffixes = {*_SUFFIXES, ".gz", ".txt"}
    return bool(_HUB_ID.fullmatch(name)) and Path(name).suffix not in suffixes and not Path(name).parent.exists()


def _read_data_set(name: str, split: str | None) -> tuple[Parsed, str]:
    # datasets takes a second to import, which readers of plain files need not wait for.
    from rung.data.columnar import parse_folder, parse_hub

    return parse_folder(name, split) if Path(name).is_dir() else parse_hub(name, split)


def _read_file(path: str, format: str | None) -> tuple[Parsed, str]:
    if not Path(path).exists():
        raise _missing(path)
    stored = open_stored(path)
    with stored.file:
        if not stored.start:
            raise _empty(path)
        if stored.start[:4] == b"PAR1" or format == "parquet":
            from rung.data.columnar import parse_parquet

            if stored.packed:
                raise DataError(f"{path}: a parquet file inside gzip", "Unpack it: parquet is compressed in itself.")
            return parse_parquet(path, stored.file), stored.sha256
        text = Text(path, stored)
        if text.is_blank:
            raise _empty(path)
        return _parse_text(path, text, format), stored.sha256


def _empty(path: str) -> DataError:
    return DataError(f"{path} is empty", "Give a file with at least one row.")


def _missing(path: str) -> DataError:
    folder = Path(path).parent
    if not folder.is_dir():
        return DataError(f"{path}: no such file, and no folder {folder}", "Check the path.")
    names = sorted(entry.name for entry in folder.iterdir())
    match = nearest(Path(path).name, names)
    guess = f"Did you mean {folder / match}?" if match else f"Files in {folder}: {', '.join(names[:8]) or 'none'}."
    return DataError(f"{path}: no such file", guess)


def _parse_text(path: str, text: Text, format: str | None) -> Parsed:
    suffix = Path(path.removesuffix(".gz")).suffix.lower()
    named = format or _SUFFIXES.get(suffix)
    actual = format or _sniff(path, text.head, named)
    parsers = {"jsonl": parse_jsonl, "json": parse_json}
    parsed = parsers[actual](path, text) if actual in parsers else parse_delimited(path, text, actual)
    if named in (None, actual):
        return parsed
    note = f"{path} holds {_WORDS[actual]}, not {_WORDS.get(named or '', 'what its name says')}: it is read as such."
    return Parsed(parsed.columns, parsed.rows, parsed.blank_lines, (note, *parsed.notes))


_WORDS = {
    "csv": "CSV",
    "tsv": "tab-separated text",
    "jsonl": "JSON lines",
    "json": "a JSON array",
    "parquet": "parquet",
}


def _sniff(path: str, text: str, named: str | None) -> str:
    """The format that the text has, `named` being the one of the file's name."""
    start = text.lstrip()
    whole_first_line = start[0] == "{" and start.partition("\n")[0].rstrip().endswith("}")
    json_name = named in ("json", "jsonl")
    if whole_first_line or (json_name and start[0] != "[" and "\n{" in text[:100_000]):
        return "jsonl"
    if start[0] in "[{" and named not in ("csv", "tsv"):
        return "json" if start[0] == "[" or named == "json" else "jsonl"
    delimiter = sniff_delimiter(text)
    found = "tsv" if delimiter == "\t" else "csv" if delimiter in start.splitlines()[0] else None
    if named in ("csv", "tsv"):
        return "tsv" if found == "tsv" else "csv"
    if found is None:
        todo = f"Set data.format to one of: {', '.join(_FORMATS)}."
        raise DataError(f"{path}: neither JSON, nor delimited text, nor parquet", todo)
    return found
