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

from rung.ladder import slices, trained, units

NUMERIC = range(2, 9)
_DROPPED_FIRST = (7, 4, 9, 6, 1, 5)
_DROPPED_FIRST_TRAINED = (5, 4, 7, 2, 1)
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


def columns(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The heads of the main table: what the metric is called, and which way its differences go."""
    metric = report["metric"]
    gap = "gain over reference" if metric["lower_is_better"] else "difference to reference"
    return (
        "rung",
        "model",
        f"{metric['title']} (95 % interval)",
        f"{gap} (lower bound)",
        "trainable params",
        "train time",
        "peak memory",
        "artifact",
        "ms / request",
        "forgetting",
    )


def lines(report: Mapping[str, Any]) -> list[Line]:
    """The rungs of a report in words, in ladder order; the texts are not escaped for any medium yet."""
    return [_line(rung, report["recommended"]["name"], report["metric"]["name"]) for rung in report["rungs"]]


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
    styles = {"pick": "bold green", "unfinished": "dim"}
    rows = [(("➜ " if line.kind == "pick" else "", *line.cells), styles.get(line.kind)) for line in shown]
    heads = columns(report)
    main, hidden = _fitted(heads, rows, (_DROPPED_FIRST, NUMERIC), width)
    noted = [f"{units.plain(line.cells[0])}: {units.plain(line.note)}" for line in shown if line.note]
    below = [*noted, trained.seeds_in_words(report), _left_out(heads, hidden)]
    parts: list[Any] = [main, *(Text(said, style="dim") for said in below if said)]
    if took := trained.took(report):
        rows = [(("", *cells), None) for cells in took]
        heads = trained.columns(report)
        second, hidden = _fitted(heads, rows, (_DROPPED_FIRST_TRAINED, range(1, len(heads))), width)
        below = [trained.note(report), _left_out(heads, hidden)]
        parts += [Text("\nWhat training took", style="bold"), second]
        parts += [Text(said, style="dim") for said in below if said]
    if told := slices.lines(report):
        heads = slices.columns(report)
        third, _ = _fitted(heads, [(("", *cells), None) for cells in told], ((), (1, 3, 4)), width)
        parts += [Text("\nBy part of the test rows", style="bold"), third, Text(slices.NOTE, style="dim")]
    return Group(*parts, Text(), Text(units.plain(answer(report)), style="bold"))


def markdown(report: Mapping[str, Any]) -> str:
    """The same tables as markdown (GitHub's), then the recommendation."""
    rows, notes = [], []
    for line in lines(report):
        cells = [_escaped(units.plain(cell)) for cell in line.cells]
        if line.kind == "pick":
            cells[0] = f"**{cells[0]}** ←"
        rows.append(cells)
        if line.note:
            notes.append(f"- {_markdown_text(line.cells[0])}: {_markdown_text(line.note)}")
    blocks = [_markdown_table(columns(report), rows, NUMERIC), "\n".join(notes), trained.seeds_in_words(report)]
    if took := trained.took(report):
        rows = [[_escaped(units.plain(cell)) for cell in cells] for cells in took]
        heads = trained.columns(report)
        blocks += [_markdown_table(heads, rows, range(1, len(heads))), trained.note(report)]
    if told := slices.lines(report):
        rows = [[_escaped(units.plain(cell)) for cell in cells] for cells in told]
        blocks += [_markdown_table(slices.columns(report), rows, (1, 3, 4)), slices.NOTE]
    blocks.append(f"**{_markdown_text(answer(report))}**")
    return "\n\n".join(block for block in blocks if block) + "\n"


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int]) -> str:
    rule = [" ---: " if column in numeric else " --- " for column in range(len(heads))]
    drawn = ["| " + " | ".join(cells) + " |" for cells in (heads, *rows)]
    return "\n".join([drawn[0], "|" + "|".join(rule) + "|", *drawn[1:]])


def _line(rung: Mapping[str, Any], pick: str | None, metric: str) -> Line:
    metrics, cost, difference = rung["metrics"], rung["cost"], rung["difference"]
    note = rung.get("reason", "")
    if metrics is None:
        empty = (units.NOTHING,) * 7
        noted = f"{rung['status']}: {note}" if note else rung["status"]
        return Line((rung["name"], rung["model"], rung["status"], *empty), "unfinished", rung["status"], noted)
    cells = (
        rung["name"],
        rung["model"],
        units.estimate(metrics.get(metric)),
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
    said = "; ".join(part for part in (note, _verdict_note(difference)) if part)
    return Line(cells, kind, rung["status"], said)


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


def _fitted(
    heads: Sequence[str],
    rows: Sequence[tuple[Sequence[str], str | None]],
    columns: tuple[Sequence[int], Sequence[int]],
    width: int,
) -> tuple[Table, list[int]]:
    """A table with as many columns as fit, and those left out.

    Args:
        heads: Their heads.
        rows: For each a mark and a cell a column, and its style.
        columns: Those left out first, in their order; those set to the right.
        width: Characters.
    """
    dropped_first, numeric = columns
    hidden: list[int] = []
    table = _table(heads, rows, numeric, hidden)
    measure = Console(width=10_000)
    for column in dropped_first:
        if measure.measure(table).maximum <= width:
            break
        hidden.append(column)
        table = _table(heads, rows, numeric, hidden)
    return table, hidden


def _left_out(heads: Sequence[str], hidden: Sequence[int]) -> str:
    names = ", ".join(heads[column] for column in sorted(hidden))
    return f"Left out at this width: {names}. All of it is in report.html." if hidden else ""


def _table(
    heads: Sequence[str],
    rows: Sequence[tuple[Sequence[str], str | None]],
    numeric: Sequence[int],
    hidden: Sequence[int],
) -> Table:
    columns = [column for column in range(len(heads)) if column not in hidden]
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(
            heads[column].replace(" (", "\n("), justify="right" if column in numeric else "left", overflow="fold"
        )
    for (mark, *cells), style in rows:
        # Text, not str: rich would read [markup] in a name.
        shown = [Text(units.plain(cells[column])) for column in columns]
        table.add_row(Text(mark) + shown[0], *shown[1:], style=style)
    return table


def _markdown_text(words: str) -> str:
    """Escaped for markdown; `names` in backticks stay code, in which nothing is markup."""
    parts = re.split(r"`([^`]*)`", units.plain(words))
    escaped = [f"`{part}`" if index % 2 and part else _escaped(part) for index, part in enumerate(parts)]
    return "".join(escaped)


def _escaped(words: str) -> str:
    safe = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])|[\\`*\[\]|!#~]", lambda found: "\\" + found[0], safe)
