"""Settings as they were given, and where each of them stood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the top of the settings down to one of them."""

COMMAND_LINE = "command line"
"""Where an override stood."""


class Document(dict[str, Any]):
    """Plain settings that remember the file and line each one came from.

    Args:
        values: The settings: dicts, lists, strings, numbers, booleans and None.
        source: The file's name; empty when they were made in Python.
        lines: Line (from 1) of each key and list item, by path.
        overridden: Paths set on the command line.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        source: str = "",
        lines: Mapping[KeyPath, int] | None = None,
        overridden: frozenset[KeyPath] = frozenset(),
    ) -> None:
        super().__init__(values)
        self.source = source
        self.lines = dict(lines or {})
        self.overridden = overridden

    def place(self, path: KeyPath) -> str:
        """Where a setting stood: `file:line`, the file when it has no lines, or the command line; may be empty."""
        if self.was_overridden(path):
            return COMMAND_LINE
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return f"{self.source}:{self.lines[path[:length]]}"
        return self.source

    def was_overridden(self, path: KeyPath) -> bool:
        """Whether the setting, or one that holds it, was set on the command line."""
        return any(path[:length] in self.overridden for length in range(1, len(path) + 1))


def dotted(path: KeyPath) -> str:
    """A path as a user types it: `methods[0].r`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def copied(value: Any) -> Any:
    """A copy of plain settings that shares no dict or list with the original."""
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [copied(item) for item in cast("list[Any]", value)]
    return value
