"""What reaches the terminal: results on stdout, all else on stderr, and nothing in user data that moves the cursor."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from rung.ladder.units import plain


def echo(text: str) -> None:
    """Say something about what is going on, on stderr; line breaks stay, control characters don't."""
    print(_clean(text), file=sys.stderr, flush=True)


def print_error(text: str, kind: str = "error: ") -> None:
    """Print an error on stderr, `error: ` before it; the first word stands out on a terminal."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    words = Text(_clean(text))
    # What a model learns from is marked so (`rung.run.supervision`).
    words.highlight_regex("⟦[^⟧]*⟧", "green")
    console.print(Text.assemble((kind, "bold red"), words))


def print_shown(text: str) -> None:
    """Print a row on stdout as the model sees it; what it learns from stands out on a terminal."""
    console = Console(soft_wrap=True, highlight=False)
    words = Text(_clean(text))
    words.highlight_regex("⟦[^⟧]*⟧", "green")
    console.print(words)


def print_result(result: RenderableType) -> None:
    """Print a result on stdout; a string is printed as it is, without control characters or wrapping."""
    if isinstance(result, str):
        print(_clean(result))
    else:
        Console(highlight=False).print(result)


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout, for programs to read."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def width() -> int:
    """Characters in a line of stdout."""
    return Console().width


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> Table:
    """A table of words; `right` names the columns that are set flush right."""
    made = Table(header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        # Text, not str: rich would read [markup] in a name.
        made.add_row(*(Text(plain(cell)) for cell in row))
    return made


def _clean(text: str) -> str:
    return "\n".join(_clean_line(line) for line in text.split("\n"))


def _clean_line(line: str) -> str:
    indent = len(line) - len(line.lstrip(" "))
    return " " * indent + plain(line[indent:])
