"""JSON files and files of JSON lines, checked against a type: what is wrong with one is said with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from rung.errors import ArtifactError

T = TypeVar("T")


def json_file(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ArtifactError: It is missing, unreadable or no JSON.
    """
    return _parsed(_text(path), str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing", "The run did not finish, or files were lost in copying.") from None
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path}: not UTF-8 at byte {error.start}", "The file is damaged.") from None
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}", "Check that it is a file you may read.") from None


def _parsed(text: str, place: str) -> Any:
    def refuse(constant: str) -> float:
        raise ArtifactError(f"{place}: {constant} is not a measurement", "Run the rung again.")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ArtifactError(f"{place}: not JSON: {error}", "The file is damaged or cut off.") from None
    except RecursionError:
        raise ArtifactError(f"{place}: nested too deeply", "The file is damaged.") from None


def json_lines(path: Path, kind: type[T]) -> list[T]:
    """What a file of JSON lines holds, each checked; empty lines are passed over.

    Raises:
        ArtifactError: It is missing or unreadable, or a line is no JSON of this type.
    """
    lines = _text(path).split("\n")  # not splitlines: U+2028 may stand inside a JSON string
    adapter = TypeAdapter(kind)
    return [
        checked(f"{path}:{number}", adapter, _parsed(line, f"{path}:{number}"))
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def checked(place: object, kind: Any, value: Any) -> Any:
    """The value as a type, or a `TypeAdapter`, has it.

    Raises:
        ArtifactError: It is not of the type; `place` tells where it stood.
    """
    adapter = kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{place}: {where + ': ' if where else ''}{first['msg']}", "The file is damaged.") from None
