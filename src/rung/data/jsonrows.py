"""JSON lines, and a JSON array of objects: one object per row, values as they are, no types guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rung.data.parsed import FIELDS, ID, SOURCE, Parsed
from rung.data.spool import JsonSpool
from rung.data.texts import Text
from rung.data.views import Mapped
from rung.errors import DataError

_SPACE = " \t\r\n"
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

_DEEPEST = 200

Found = tuple[dict[str, Any], int, bool]
"""A row, its line, and whether half of a surrogate pair may be in it."""


def parse_jsonl(path: str, text: Text) -> Parsed:
    """Rows of JSON lines.

    Raises:
        DataError: A line is not a JSON object (with file, line and column), or there are no rows.
    """
    blank_lines = 0

    def found() -> Iterator[Found]:
        nonlocal blank_lines
        for number, ended in enumerate(text.lines("\n"), start=1):
            line = ended.removesuffix("\n")
            if line.strip():
                row = _object(path, _decode(path, line, None, number)[0], number)
                yield row, number, bool(_ESCAPED_SURROGATE.search(line))
            else:
                blank_lines += 1

    columns, rows = _parsed(path, found())
    return Parsed(columns, rows, blank_lines)


def parse_json(path: str, text: Text) -> Parsed:
    """Rows of a JSON array of objects. Its text is held in memory: JSON lines are not.

    Raises:
        DataError: The text is not an array of objects (with file, line and column), or it is empty.
    """
    return Parsed(*_parsed(path, _array(path, text.whole())))


def _array(path: str, text: str) -> Iterator[Found]:
    place = _skip_space(text, 0)
    if text[place : place + 1] != "[":
        raise DataError(
            f"{path}: not a JSON array of rows", "Write [{...}, {...}], or one object per line and data.format=jsonl."
        )
    may_be_half = bool(_ESCAPED_SURROGATE.search(text))
    line, counted = 1, 0
    opened = place
    while True:
        place = _skip_space(text, place + 1)
        if text[place : place + 1] == "]" and text[opened + 1 : place].strip() == "":
            return
        line, counted = line + text.count("\n", counted, place), place
        value, place = _decode(path, text, place, line)
        yield _object(path, value, line), line, may_be_half
        place = _skip_space(text, place)
        if text[place : place + 1] == "]":
            break
        if text[place : place + 1] != ",":
            line = 1 + text.count("\n", 0, place)
            raise DataError(f"{path}:{line}: expected ',' or ']' after a row", "Close the array with ].")
    rest = _skip_space(text, place + 1)
    if rest != len(text):
        raise DataError(f"{path}:{1 + text.count(chr(10), 0, rest)}: text after the array's end", "Remove it.")


def _skip_space(text: str, place: int) -> int:
    while text[place : place + 1] and text[place] in _SPACE:
        place += 1
    return place


def _decode(path: str, text: str, place: int | None, line: int) -> tuple[Any, int]:
    """The JSON value at `place` of a file's text, or (None) the one line `text`; and where it ends."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise DataError(f"{path}:{line}: key {key!r} stands twice in one object", "Keep one of them.")
            found[key] = value
        return found

    def refuse(name: str) -> Any:
        raise DataError(f"{path}:{line}: {name} is not JSON", "Write null for a missing number.")

    decoder = json.JSONDecoder(object_pairs_hook=unique, parse_constant=refuse)
    try:
        return (decoder.decode(text), len(text)) if place is None else decoder.raw_decode(text, place)
    except json.JSONDecodeError as error:
        at = line + error.lineno - 1 if place is None else error.lineno
        raise DataError(f"{path}:{at}:{error.colno}: {error.msg}", "Mend the JSON there.") from None
    except RecursionError:
        raise DataError(f"{path}:{line}: JSON nested too deeply", "Flatten the row.") from None
    except ValueError as error:
        raise DataError(f"{path}:{line}: {error}", "Write such a number as text.") from None


def _object(path: str, value: Any, line: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(
            f"{path}:{line}: a row must be a JSON object, got {_KIND[type(value)]}", 'Write {"column": value, ...}.'
        )
    if _is_deep(value, _DEEPEST):
        raise DataError(f"{path}:{line}: JSON nested too deeply", "Flatten the row.")
    return value


def _is_deep(value: Any, left: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left == 0 or any(_is_deep(one, left - 1) for one in inner if isinstance(one, dict | list))


_KIND = {list: "an array", str: "a string", int: "a number", float: "a number", bool: "a boolean", type(None): "null"}


def _parsed(path: str, found: Iterable[Found]) -> tuple[tuple[str, ...], Mapped[Any, tuple[dict[str, Any], str]]]:
    """The columns, and the rows with those they lack."""
    spool = JsonSpool()
    own: dict[str, None] = {}
    first_half = 0
    for row, line, may_be_half in found:
        spool.append((row, line))
        own.update(dict.fromkeys(_own(row)))
        if may_be_half and not first_half and _SURROGATE.search(json.dumps(row, ensure_ascii=False)):
            first_half = line
    if not len(spool):
        raise DataError(f"{path} has no rows", "Give at least one row.")
    if first_half:
        todo = "Remove it: it stands for no character."
        raise DataError(f"{path}:{first_half}: half of a surrogate pair (\\ud800 to \\udfff alone)", todo)
    if not own:
        raise DataError(f"{path}: rows without columns", 'Write {"column": value, ...}.')

    def whole(kept: tuple[dict[str, Any], int]) -> tuple[dict[str, Any], str]:
        row, line = kept
        return row if is_ours(row) else dict.fromkeys(own) | row, f"{path}:{line}"

    return tuple(own), Mapped(spool, whole)


def is_ours(row: Mapping[str, Any]) -> bool:
    """Whether Rung wrote this row: it then carries its id and its source."""
    return isinstance(row.get(ID), str) and isinstance(row.get(SOURCE), str)


def _own(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return own_fields(row) if is_ours(row) else row


def own_fields(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The columns of a row that Rung wrote, without its id and source."""
    if row.keys() == {ID, SOURCE, FIELDS}:
        return row[FIELDS]
    return {name: value for name, value in row.items() if name not in (ID, SOURCE)}
