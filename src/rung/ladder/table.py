"""The report as a table: in the terminal, and as markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from rung.ladder import units

COLUMNS = (
    "rung",
    "model",
    "macro-F1 (95 % interval)",
    "difference to reference (lower bound)",
    "trainable params",
    "train time",
    "peak memory",
    "artifact",
    "ms / request",
    "forgetting",
)
NUMERIC = range(2, len(COLUMNS) - 1)
_DROPPED_FIRST = (7, 4, 9, 6, 1, 5)
_UNTOUCHED = ("majority", "tfidf", "zero_shot", "few_shot", "prompt_search")


@dataclass(frozen=True, slots=True)
class Line:
    """One rung as words.

    Attributes:
        cells: One text per column.
        kind: `pick`, `reference`, `other`, or `unfinished`.
        status: The rung's status.
        note: Why it did not finish or was not compared, or what its verdict adds; may be empty.
    """

    cells: tuple[str, ...]
    kind: str
    status: str
    note: str


def lines(report: Mapping[str, Any]) -> list[Line]:
    """The rungs of a report in words, in ladder order; the texts are not escaped for any medium yet."""
    return [_line(rung, report["recommended"]["name"]) for rung in report["rungs"]]


def answer(report: Mapping[str, Any]) -> str:
    """The recommendation in one line and its reason."""
    recommended = report["recommended"]
    name = recommended["name"]
    return f"Lowest sufficient rung: {name}. {recommended['reason']}" if name else recommended["reason"]


def terminal(report: Mapping[str, Any], width: int) -> Group:
    """What the terminal shows: the table, what is not in it, the recommendation.

    Columns that do not fit in `width` characters are left out, the least telling first, and named below.
    """
    shown = lines(report)
    hidden: list[int] = []
    table = _table(shown, hidden)
    measure = Console(width=10_000)
    for column in _DROPPED_FIRST:
        if measure.measure(table).maximum <= width:
            break
        hidden.append(column)
        table = _table(shown, hidden)
    below = [
        Text(f"{units.plain(line.cells[0])}: {units.plain(line.note)}", style="dim") for line in shown if line.note
    ]
    if hidden:
        names = ", ".join(COLUMNS[column] for column in sorted(hidden))
        below.append(Text(f"Left out at this width: {names}. All of it is in report.html.", style="dim"))
    return Group(table, *below, Text(), Text(units.plain(answer(report)), style="bold"))


def markdown(report: Mapping[str, Any]) -> str:
    """The same table as markdown (GitHub's), then the recommendation."""
    rule = [" ---: " if column in NUMERIC else " --- " for column in range(len(COLUMNS))]
    rows = ["| " + " | ".join(COLUMNS) + " |", "|" + "|".join(rule) + "|"]
    notes = []
    for line in lines(report):
        cells = [_escaped(units.plain(cell)) for cell in line.cells]
        if line.kind == "pick":
            cells[0] = f"**{cells[0]}** ←"
        rows.append("| " + " | ".join(cells) + " |")
        if line.note:
            notes.append(f"- {_markdown_text(line.cells[0])}: {_markdown_text(line.note)}")
    blocks = ["\n".join(rows), "\n".join(notes), f"**{_markdown_text(answer(report))}**"]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _line(rung: Mapping[str, Any], pick: str | None) -> Line:
    metrics, cost, difference = rung["metrics"], rung["cost"], rung["difference"]
    note = rung.get("reason", "")
    if metrics is None:
        empty = (units.NOTHING,) * (len(COLUMNS) - 3)
        noted = f"{rung['status']}: {note}" if note else rung["status"]
        return Line((rung["name"], rung["model"], rung["status"], *empty), "unfinished", rung["status"], noted)
    cells = (
        rung["name"],
        rung["model"],
        units.estimate(metrics["macro_f1"]),
        _difference(difference),
        units.count(cost["trainable_parameters"]),
        units.seconds(cost["train_seconds"]),
        units.size(cost["peak_memory_bytes"]),
        units.size(cost["artifact_bytes"]),
        units.milliseconds(cost["seconds_per_request"]).removesuffix(" ms"),
        units.forgetting(rung["forgetting"], changes_weights=rung["method"] not in _UNTOUCHED),
    )
    verdict = difference["verdict"] if difference else ""
    kind = "pick" if rung["name"] == pick else "reference" if verdict == "reference" else "other"
    return Line(cells, kind, rung["status"], note or _verdict_note(difference))


def _difference(difference: Mapping[str, Any] | None) -> str:
    if difference is None:
        return "not compared"
    if difference["verdict"] == "reference":
        return "reference"
    return f"{units.signed(difference['value'])} ({units.signed(difference['lower_bound'])})"


def _verdict_note(difference: Mapping[str, Any] | None) -> str:
    if difference is None:
        return ""
    said = difference["note"]
    if difference["verdict"] == "undecided":
        rows = difference["rows_needed"]
        more = f"about {rows:,} more test rows would decide" if rows else "too near the margin to decide"
        said = f"undecided: {more}" + (f"; {said}" if said else "")
    return said


def _table(shown: Sequence[Line], hidden: Sequence[int]) -> Table:
    columns = [column for column in range(len(COLUMNS)) if column not in hidden]
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(
            COLUMNS[column].replace(" (", "\n("), justify="right" if column in NUMERIC else "left", overflow="fold"
        )
    styles = {"pick": "bold green", "unfinished": "dim"}
    for line in shown:
        # Text, not str: rich would read [markup] in a name.
        cells = [Text(units.plain(line.cells[column])) for column in columns]
        if line.kind == "pick":
            cells[0] = Text("➜ ") + cells[0]
        table.add_row(*cells, style=styles.get(line.kind))
    return table


def _markdown_text(words: str) -> str:
    """Escaped for markdown; `names` in backticks stay code, in which nothing is markup."""
    parts = re.split(r"`([^`]*)`", units.plain(words))
    escaped = [f"`{part}`" if index % 2 and part else _escaped(part) for index, part in enumerate(parts)]
    return "".join(escaped)


def _escaped(words: str) -> str:
    safe = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])|[\\`*\[\]|!#~]", lambda found: "\\" + found[0], safe)
