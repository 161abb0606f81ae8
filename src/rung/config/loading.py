"""Settings files: YAML 1.2 and TOML, read strictly. Every mistake is a `ConfigError` with file, line and column."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, time
from pathlib import Path
from typing import Any, cast

import yaml

from rung.config.document import Document, KeyPath, dotted
from rung.config.scalars import Scalar, scalar
from rung.errors import ConfigError, nearest

MAX_BYTES = 1 << 20
"""Largest settings file that is read; data belongs in data files."""
MAX_DEPTH = 40
"""Deepest nesting of sections and lists."""
MAX_ALIASES = 100
"""Most `*aliases` in a file."""
MAX_VALUES = 50_000
"""Most values once aliases are expanded."""

_SUFFIXES = frozenset({".yaml", ".yml", ".toml"})
_PLAIN, _QUOTED = "plain", "quoted"
_MAPPING, _SEQUENCE = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
_TEXT = frozenset({_QUOTED, "tag:yaml.org,2002:str"})
_TOML_PLACE = re.compile(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL)


def load_config(path: str | Path) -> Document:
    """The settings in a `.yaml`, `.yml` or `.toml` file.

    Raises:
        ConfigError: The file is missing, malformed, or of another type.
    """
    if not is_settings_file(path):
        raise ConfigError(f"{path}: not a settings file.", "Settings are read from .yaml, .yml and .toml files.")
    return load_toml(path) if Path(path).suffix.lower() == ".toml" else load_yaml(path)


def is_settings_file(path: str | Path) -> bool:
    """Whether a path is named like a settings file."""
    return Path(path).suffix.lower() in _SUFFIXES


def load_yaml(path: str | Path) -> Document:
    """The settings in a YAML file, with the line of each.

    Raises:
        ConfigError: The file can't be read, is not valid YAML, repeats a key, nests too deep, has too many aliases,
            asks for a Python object, or its top level is not a mapping.
    """
    return parse_yaml(_read(path), str(path))


def load_toml(path: str | Path) -> Document:
    """The settings in a TOML file; dates become text.

    Raises:
        ConfigError: The file can't be read, is not valid TOML, nests too deep, or holds a non-finite number.
    """
    text = _read(path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _toml_error(str(path), text, str(error)) from None
    except RecursionError:
        raise ConfigError(f"{path}: nested deeper than {MAX_DEPTH} levels.", "Flatten it.") from None
    return Document(_plain_toml(values, str(path), ()), source=str(path))


def parse_yaml(text: str, source: str) -> Document:
    """The settings in a YAML text whose top level is a mapping (or is empty); `source` names it in errors.

    Raises:
        ConfigError: As for `load_yaml`.
    """
    with _located(source, text):
        root = _Composer(text).get_single_node()
        if root is None:
            return Document({}, source=source)
        if not isinstance(root, yaml.MappingNode):
            raise _problem(root, "the top level must be settings, `name: value`")
        builder = _Builder()
        return Document(builder.build(root, ()), source=source, lines=builder.lines)


def parse_value(text: str, source: str) -> Any:
    """One YAML value, as typed after `key=`; nothing is None.

    Raises:
        ConfigError: It is not valid YAML; `source` names it.
    """
    with _located(source, text):
        root = _Composer(text).get_single_node()
        return None if root is None else _Builder().build(root, ())


def _read(path: str | Path) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _missing(Path(path)) from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}.", "Give the path of a settings file.") from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES:,} bytes.", "A settings file is small: name data by path.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text (byte {error.start}).", "Save it as UTF-8.") from None


def _missing(path: Path) -> ConfigError:
    folder = path.parent
    names = [file.name for file in folder.iterdir() if file.suffix in _SUFFIXES] if folder.is_dir() else []
    match = nearest(path.name, names)
    guess = f"Did you mean {folder / match}?" if match else "Give the path of a settings file."
    return ConfigError(f"{path}: no such file.", guess)


class _Composer(yaml.SafeLoader):
    """PyYAML up to the node graph, with bounded nesting and aliases; scalars are marked plain or quoted, no more."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._aliases = 0

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _QUOTED
        return super().resolve(kind, value, implicit)

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: yaml.Event = self.peek_event()
        self._depth += 1
        self._aliases += isinstance(event, yaml.AliasEvent)
        if self._depth > MAX_DEPTH:
            raise _too_deep(event)
        if self._aliases > MAX_ALIASES:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_ALIASES} aliases", problem_mark=event.start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _too_deep(at: yaml.Event | yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=at.start_mark)


class _Builder:
    """Turns nodes into plain values: no tag makes an object, every key is text and unique, aliases become copies."""

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._count = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise _problem(node, f"more than {MAX_VALUES:,} values once aliases are expanded")
        if len(path) > MAX_DEPTH:
            raise _too_deep(node)
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode) and node.tag == _MAPPING:
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQUENCE:
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _TEXT:
            return node.value
        if isinstance(node, yaml.ScalarNode) and node.tag == _PLAIN:
            return _plain_value(node)
        raise _problem(node, f"the tag {node.tag!r} is not allowed: settings are plain values and never make objects")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.value:
            # A key is its own text: a label `0` or `true` stays what was typed.
            if not isinstance(key, yaml.ScalarNode):
                raise _problem(key, "a list or a mapping can't be a key")
            name, place = str(key.value), (*path, str(key.value))
            if name in values:
                raise _problem(key, f"{name!r} is given twice, first on line {self.lines[place]}")
            self.lines[place] = key.start_mark.line + 1
            values[name] = self.build(value, place)
        return values


def _plain_value(node: yaml.ScalarNode) -> Scalar:
    try:
        return scalar(node.value)
    except ValueError as error:
        raise _problem(node, str(error)) from None


def _problem(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


@contextmanager
def _located(source: str, text: str) -> Iterator[None]:
    """Turn what PyYAML or the builder objects to into a `ConfigError` with its place."""
    try:
        yield
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        raise ConfigError(f"{source}:{line}:{column}: U+{error.character:04X} is not allowed.", "Remove it.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigError(f"{place}: {', '.join(filter(None, (error.context, error.problem)))}.") from None


def _toml_error(source: str, text: str, message: str) -> ConfigError:
    found = _TOML_PLACE.match(message)
    if found is None:
        return ConfigError(f"{source}: {message}.")
    problem, line, column = found.groups()
    place = f"{line}:{column}" if line else f"{text.count(chr(10)) + 1}"
    return ConfigError(f"{source}:{place}: {problem[:1].lower()}{problem[1:]}.")


def _plain_toml(value: Any, source: str, path: KeyPath) -> Any:
    if len(path) > MAX_DEPTH:
        raise ConfigError(f"{source}: {dotted(path[:3])}... is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{source}: {dotted(path)}={value} is not a finite number.", "Quote it if it is text.")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: _plain_toml(item, source, (*path, key)) for key, item in items}
    if isinstance(value, list):
        return [_plain_toml(item, source, (*path, index)) for index, item in enumerate(cast("list[Any]", value))]
    return value
