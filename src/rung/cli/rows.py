"""Rows in and out of the predicting verbs: files, or stdin and stdout as `-`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.cli.console import echo
from rung.errors import DataError

if TYPE_CHECKING:
    from rung.data.readers import Table

STREAM = "-"
"""Stands for stdin or stdout."""

_STDIN = "/dev/stdin"


def read_rows(path: str) -> Table:
    """The rows of a file, or of stdin for `-`; what the reader guessed is said on stderr.

    Raises:
        DataError: It can't be read.
    """
    from rung.data.readers import read

    table = read(_STDIN if path == STREAM else path)
    for note in table.notes:
        echo(note)
    return table


def write_rows(path: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], stream_format: str) -> None:
    """Write rows to a `.csv` or `.jsonl` file, replaced whole, or to stdout for `-` in `stream_format`.

    Raises:
        DataError: The file name has another ending.
        StorageError: It can't be written.
    """
    from rung.data.write import write_table

    if path != STREAM:
        write_table(path, columns, rows)
        return
    # The one writer escapes and encodes; a stream can't be replaced as a whole, so it gets a copy.
    with tempfile.TemporaryDirectory(prefix="rung-") as folder:
        draft = Path(folder) / f"rows.{stream_format}"
        write_table(draft, columns, rows)
        sys.stdout.buffer.write(draft.read_bytes())
        sys.stdout.buffer.flush()


def check_output(path: str, data: str) -> None:
    """Refuse an output that can't be written as rows, before anything is computed.

    Raises:
        DataError: The file's ending is unknown, its folder is missing, or it is the input.
    """
    if path == STREAM:
        return
    if Path(path).suffix.lower() not in {".csv", ".jsonl"}:
        raise DataError(f"--output {path}: predictions are written as .csv or .jsonl.", "Give it one of these endings.")
    if not Path(path).parent.is_dir():
        raise DataError(f"--output {path}: there is no folder {Path(path).parent}.", "Make it, or write elsewhere.")
    if data != STREAM and Path(path).exists() and Path(data).exists() and Path(path).samefile(data):
        raise DataError(f"--output {path} is the input file.", "Write to another file; the input is left as it is.")
