"""CSV and TSV: every value is read as text, every row has its line, and a ragged row is an error.

CSV follows RFC 4180 (a quoted field may hold commas, doubled quotes and line breaks). TSV has no quoting, unless its
fields are consistently quoted.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from rung.data.names import KNOWN_NAMES
from rung.data.parsed import Parsed
from rung.data.spool import JsonSpool
from rung.data.texts import Text
from rung.data.views import Mapped
from rung.errors import DataError

# The default of 128 KiB per field is less than one e-mail with an attachment.
csv.field_size_limit(2**31 - 1)

_SNIFFED_LINES = 50
_WORDS_OF_A_SENTENCE = 4

Line = tuple[int, list[str]]


def parse_delimited(path: str, text: Text, format: str | None) -> Parsed:
    """Rows of a delimited text.

    Args:
        path: The file's name, for messages and sources.
        text: Its content.
        format: `csv` (quoted fields; the delimiter is told from the first lines), `tsv`, or None: told from them.

    Raises:
        DataError: A row has too many or too few fields, a quote is never closed, a column name stands twice, or
            there are no rows.
    """
    delimiter = "\t" if format == "tsv" else sniff_delimiter(text.head)
    quoted = format == "csv" or delimiter != "\t" or _consistently_quoted(text)
    filled, blank_lines = JsonSpool(), 0
    for line, cells in _quoted_lines(path, text, delimiter) if quoted else _plain_lines(text, delimiter):
        if len(cells) > 1 or any(cell.strip() for cell in cells):
            filled.append((line, cells))
        else:
            blank_lines += 1
    if not len(filled):
        raise DataError(f"{path} has no rows", "Give a file with a header and at least one row.")
    columns, has_header, notes = _take_header(path, filled)
    body = filled[int(has_header) :]
    for line, cells in body:
        if len(cells) != len(columns):
            raise _ragged(f"{path}:{line}", columns, cells, delimiter, quoted)
    if not len(body):
        raise DataError(f"{path}:{filled[0][0]}: a header ({', '.join(columns)}) and no rows", "Add at least one row.")

    def row(kept: Line) -> tuple[dict[str, Any], str]:
        return dict(zip(columns, kept[1], strict=True)), f"{path}:{kept[0]}"

    return Parsed(columns, Mapped(body, row), blank_lines, notes)


def sniff_delimiter(text: str) -> str:
    """The delimiter of a delimited text: tab if all first lines agree on it, else what the header holds, else comma."""
    head = [line for line in _split_lines(text[:1_000_000])[: _SNIFFED_LINES + 1] if line.strip()]
    tabs = {line.count("\t") for line in head[:_SNIFFED_LINES]}
    if len(tabs) == 1 and tabs != {0}:
        return "\t"
    header = head[0] if head else ""
    return next((delimiter for delimiter in ",\t;|" if delimiter in header), ",")


def _quoted_lines(path: str, text: Text, delimiter: str) -> Iterator[Line]:
    reader = csv.reader(text.lines(""), delimiter=delimiter, strict=True)
    start = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise DataError(
                    f"{path}:{start}: a quote opened here is never closed", 'Write a quote as "".'
                ) from None
            todo = 'Put the whole field in quotes and write a quote inside it as "".'
            raise DataError(f"{path}:{reader.line_num}: {error}", todo) from None
        yield start, cells
        start = reader.line_num + 1


def _plain_lines(text: Text, delimiter: str) -> Iterator[Line]:
    for number, line in enumerate(_physical_lines(text), start=1):
        yield number, line.split(delimiter)


def _physical_lines(text: Text) -> Iterator[str]:
    # Not splitlines: it also breaks at U+2028, form feeds and the like, which stand inside texts.
    if not text.has_line_feeds:
        return (line.removesuffix("\r") for line in text.lines("\r"))
    return (line.removesuffix("\n").removesuffix("\r") for line in text.lines("\n"))


def _split_lines(text: str) -> list[str]:
    ends_with_cr = "\n" not in text
    lines = text.split("\r") if ends_with_cr else [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _consistently_quoted(text: Text) -> bool:
    rows = [line.split("\t") for line in islice(_physical_lines(text), _SNIFFED_LINES + 1) if line.strip()]
    if not rows:
        return False
    if all(map(_in_quotes, rows[0])):
        return True
    return len(rows) > 2 and any(all(map(_in_quotes, cells)) for cells in zip(*rows[1:], strict=False))


def _in_quotes(cell: str) -> bool:
    return len(cell) >= 2 and cell[0] == cell[-1] == '"'


def _take_header(path: str, lines: Sequence[Line]) -> tuple[tuple[str, ...], bool, tuple[str, ...]]:
    """The column names, whether the first line holds them, and what there is to say of it."""
    first_line, first = lines[0]
    if _is_data(first, (cells for _, cells in lines[1:])):
        columns = tuple(f"column_{number}" for number in range(1, len(first) + 1))
        note = f"{path}:{first_line} looks like data, not like a header: the columns are named {', '.join(columns)}."
        return columns, False, (note,)
    names = [cell.strip() for cell in first]
    columns = tuple(name or f"column_{number}" for number, name in enumerate(names, start=1))
    repeated = [name for name, count in Counter(columns).items() if count > 1]
    if repeated:
        raise DataError(
            f"{path}:{first_line}: column name {repeated[0]!r} stands twice", "Give each column its own name."
        )
    notes = tuple(
        f"{path}:{first_line}: column {number} has no name: it is called {columns[number - 1]}."
        for number, name in enumerate(names, start=1)
        if not name
    )
    return columns, True, notes


def _is_data(first: Sequence[str], others: Iterable[list[str]]) -> bool:
    """Whether the first row is a row like the others, and the file has no header."""
    if any(cell.strip().lower() in KNOWN_NAMES for cell in first):
        return False
    if len(first) == 1:
        return len(first[0].split()) >= _WORDS_OF_A_SENTENCE
    recurs = [False] * len(first)
    wanted = {place: cell for place, cell in enumerate(first) if cell.strip()}
    for cells in others:
        if not wanted:
            break
        for place in [place for place, cell in wanted.items() if len(cells) > place and cells[place] == cell]:
            recurs[place] = True
            del wanted[place]
    # One recurring cell alone may be chance: a column "A" of a quiz holds the answer "A".
    return all(recurs) or (any(recurs) and any(" " in cell.strip() for cell in first))


def _ragged(place: str, columns: Sequence[str], cells: Sequence[str], delimiter: str, quoted: bool) -> DataError:
    what = f"{place}: expected {len(columns)} fields ({', '.join(columns)}), got {len(cells)}"
    if not quoted:
        return DataError(
            what, "A text can't hold a tab or a line break here, unless data.format=csv and it is in quotes."
        )
    name = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}[delimiter]
    return DataError(what, f"Put a text that holds a {name}, a quote or a line break in quotes.")
