"""`section.key=value` on the command line: sets one setting of a file; `list+=value` appends to a list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from rung.config.document import COMMAND_LINE, Document, KeyPath, copied, dotted
from rung.config.loading import MAX_DEPTH, parse_value
from rung.errors import ConfigError

_OVERRIDE = re.compile(r"(?P<path>[^=]*?)(?P<append>\+?)=(?P<value>.*)", re.DOTALL)
_STEP = re.compile(r"\.?(?P<key>[^.\[\]]+)|\[(?P<index>[0-9]{1,6})\]")
_ALLOWED = "Write section.key=value, list[0].key=value or list+=value; the value is YAML."


def apply_overrides(config: Mapping[str, Any], overrides: Sequence[str]) -> Document:
    """The settings with overrides applied from left to right; `config` is left as it was.

    A section that is missing is made; a name standing for a section (`method: lora`) becomes `{type: lora}` when one
    of its keys is set.

    Args:
        config: The settings.
        overrides: `path=value` or `path+=value`; the path is keys joined by dots, list positions in brackets.

    Raises:
        ConfigError: An override is malformed, or its path doesn't fit the settings.
    """
    document = config if isinstance(config, Document) else Document(config)
    values: dict[str, Any] = copied(document)
    overridden = set(document.overridden)
    for text in overrides:
        path, is_append, value = _parsed(text)
        target = _container(values, path, text)
        if is_append:
            path = (*path, _append(target, path, value, text))
        else:
            _assign(target, path, value, text)
        overridden.add(path)
    return Document(values, document.source, document.lines, frozenset(overridden))


def is_override(text: str) -> bool:
    """Whether a word on the command line is meant as an override."""
    return _OVERRIDE.fullmatch(text) is not None


def _parsed(text: str) -> tuple[KeyPath, bool, Any]:
    found = _OVERRIDE.fullmatch(text)
    if found is None:
        raise ConfigError(f"{text!r} is not an override: it has no '='.", _ALLOWED)
    path = _path(found["path"].strip(), text)
    return path, bool(found["append"]), parse_value(found["value"], COMMAND_LINE)


def _path(written: str, text: str) -> KeyPath:
    steps: list[str | int] = []
    position = 0
    while found := _STEP.match(written, position):
        # Only the first key has no dot before it.
        if found["key"] is not None and (position > 0) != found[0].startswith("."):
            break
        steps.append(found["key"] if found["index"] is None else int(found["index"]))
        position = found.end()
    if position < len(written) or not steps or isinstance(steps[0], int):
        raise ConfigError(f"{text!r} is not an override: {written!r} is not a path of keys.", _ALLOWED)
    if len(steps) > MAX_DEPTH:
        raise ConfigError(f"{text[:60]!r}... is nested deeper than {MAX_DEPTH} levels.", _ALLOWED)
    return tuple(steps)


def _container(values: dict[str, Any], path: KeyPath, text: str) -> dict[str, Any] | list[Any]:
    """The dict or list that holds the last step of a path, made where it is missing."""
    current: Any = values
    for depth, step in enumerate(path[:-1]):
        _check_step(current, path[: depth + 1], text)
        held = current.get(step) if isinstance(current, dict) else current[step]
        wants_list = isinstance(path[depth + 1], int)
        if held is None:
            held = [] if wants_list else {}
        elif isinstance(held, str) and not wants_list:
            held = {"type": held}
        current[step] = held
        current = held
    return current


def _check_step(container: Any, path: KeyPath, text: str) -> None:
    step, holder = path[-1], dotted(path[:-1]) or "the top level"
    if isinstance(step, int):
        if not isinstance(container, list):
            raise ConfigError(f"{text!r}: {holder} is not a list.", f"Leave out [{step}].")
        size = len(cast("list[Any]", container))
        if step >= size:
            raise ConfigError(
                f"{text!r}: {holder} has {size} item(s), and positions count from 0.",
                f"Append with {holder}+=value.",
            )
    elif isinstance(container, list):
        raise ConfigError(f"{text!r}: {holder} is a list.", f"Name an item: {holder}[0].{step}=value.")
    elif not isinstance(container, dict):
        raise ConfigError(f"{text!r}: {holder}={container!r} is a value, it has no {step!r}.", _ALLOWED)


def _assign(container: Any, path: KeyPath, value: Any, text: str) -> None:
    _check_step(container, path, text)
    container[path[-1]] = value


def _append(container: Any, path: KeyPath, value: Any, text: str) -> int:
    """Add to the list at `path`, made where it is missing; gives the new item's position."""
    _check_step(container, path, text)
    step = path[-1]
    held = container.get(step) if isinstance(container, dict) else container[step]
    items: Any = [] if held is None else held
    if not isinstance(items, list):
        raise ConfigError(f"{text!r}: {dotted(path)}={held!r} is not a list.", "Set it with = and a list: [a, b].")
    container[step] = [*cast("list[Any]", items), value]
    return len(cast("list[Any]", items))
