"""One spelling for settings: other tools' names become ours, `lora` becomes `{type: lora}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from rung.config.aliases import SHARES, SWITCHES, canonical_name
from rung.config.document import Document, KeyPath, copied, dotted
from rung.config.shapes import TAG, Section, child, chosen, entry, is_usual, item, leaves, tagged, tags
from rung.errors import ConfigError


def canonicalise(section: Section, given: Mapping[str, Any]) -> Document:
    """The settings with every alias and shorthand that `section` knows spelled out; the rest is left alone.

    Raises:
        ConfigError: A setting is given under two names with different values, or a share is 1 or more.
    """
    document = given if isinstance(given, Document) else Document(given)
    spelled = Document(copied(document), document.source, document.lines, document.overridden)
    _visit(section, spelled, (), spelled)
    return spelled


def _visit(annotation: Any, value: Any, path: KeyPath, document: Document) -> Any:
    """The value in one spelling; dicts and lists are changed in place."""
    if annotation is None:
        return value
    if isinstance(value, str) and tagged(annotation) and str not in leaves(annotation):
        return {TAG: value}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        for index, held in enumerate(items):
            items[index] = _visit(item(annotation), held, (*path, index), document)
    elif isinstance(value, dict):
        values = cast("dict[str, Any]", value)
        section = chosen(annotation, values)
        if section is not None:
            if is_usual(section):
                values.setdefault(TAG, tags(section)[0])
            _rename(section, values, path, document)
        for key, held in values.items():
            values[key] = _visit(child(section, key) if section else entry(annotation), held, (*path, key), document)
    return value


def _rename(section: Section, values: dict[str, Any], path: KeyPath, document: Document) -> None:
    """Give every aliased key its own name, in the place where it stood."""
    for key in [key for key in values if key in SWITCHES and canonical_name(section, key)]:
        if values[key] is False:
            del values[key]
        elif values[key] is True:
            values[key] = SWITCHES[key]
    names = {key: canonical_name(section, key) or key for key in values}
    if all(key == name for key, name in names.items()):
        return
    kept: dict[str, str] = {}
    for key, name in names.items():
        _check_share(key, values[key], (*path, key), document)
        kept[name] = _winner(kept.get(name, key), key, values, path, document)
    renamed = {name: values[key] for name, key in kept.items()}
    values.clear()
    values.update(renamed)
    for name, key in kept.items():
        if name != key:
            _move(document, (*path, key), (*path, name))


def _winner(first: str, second: str, values: Mapping[str, Any], path: KeyPath, document: Document) -> str:
    """Of two names for one setting: the one on the command line, or either when they agree."""
    if first == second or values[first] == values[second]:
        return first
    on_command_line = [key for key in (first, second) if document.was_overridden((*path, key))]
    if len(on_command_line) == 1:
        return on_command_line[0]
    place = document.place((*path, second))
    raise ConfigError(
        f"{place + ': ' if place else ''}{dotted((*path, first))}={values[first]!r} and "
        f"{dotted((*path, second))}={values[second]!r} are two names of one setting.",
        "Keep one of them.",
    )


def _check_share(key: str, value: Any, path: KeyPath, document: Document) -> None:
    if key in SHARES and isinstance(value, int | float) and value >= 1:
        place = document.place(path)
        raise ConfigError(
            f"{place + ': ' if place else ''}{dotted(path)}={value!r} must be a share below 1.",
            "Write warmup_steps for a number of steps.",
        )


def _move(document: Document, old: KeyPath, new: KeyPath) -> None:
    size = len(old)
    moved = {(*new, *path[size:]): line for path, line in document.lines.items() if path[:size] == old}
    document.lines.update(moved)
    document.overridden = frozenset(
        (*new, *path[size:]) if path[:size] == old else path for path in document.overridden
    )
