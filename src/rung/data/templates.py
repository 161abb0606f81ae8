"""Sandboxed Jinja over a record's columns.

A template shows a row; it computes nothing. It is held to a small part of Jinja (`_ALLOWED`, `FILTERS`) in which the
text can't grow faster than template times row: a template from a stranger can neither reach code nor run for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rung.errors import ConfigError, DataError, nearest, unknown

FILTERS = (
    "capitalize", "default", "first", "float", "int", "last", "length", "lower", "round", "string", "title", "trim",
    "truncate", "upper",
)  # fmt: skip
"""Filters whose result is about as long as what they are given."""

_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Const, nodes.Name, nodes.Getitem, nodes.Getattr,
    nodes.Slice, nodes.Filter, nodes.Test, nodes.Keyword, nodes.If, nodes.For, nodes.CondExpr, nodes.Compare,
    nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Concat, nodes.Tuple, nodes.List,
)  # fmt: skip
_LONGEST = 20_000
_INSTEAD = f"A template has {{{{ column }}}}, {{% if %}}, one {{% for %}}, and the filters {', '.join(FILTERS)}."

_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)


@lru_cache(maxsize=1024)
def compile_template(source: str, setting: str = "task.template") -> Template:
    """Compile a template once.

    Args:
        source: The template.
        setting: Where it was given.

    Raises:
        ConfigError: Its syntax is wrong, or it uses what a template may not.
    """
    # Before compiling: the compiler computes constant parts, and so runs them.
    _require_harmless(source, _parsed(source, setting), setting)
    return _ENVIRONMENT.from_string(source)


def named_columns(source: str) -> set[str]:
    """The columns a template names."""
    return find_undeclared_variables(_parsed(source))


def check_template(source: str, columns: tuple[str, ...], setting: str = "task.template") -> None:
    """Refuse a template that names a column the data has not.

    Args:
        source: The template.
        columns: The columns there are.
        setting: Where it was given.

    Raises:
        ConfigError: With the nearest column.
    """
    compile_template(source, setting)
    for name in sorted(named_columns(source) - set(columns)):
        match = nearest(name, columns)
        guess = f" Did you mean {match!r}?" if match else ""
        raise ConfigError(f"{setting} names {name!r}, which no column has.{guess}", f"Columns: {', '.join(columns)}.")


def render(source: str, fields: Mapping[str, Any], setting: str = "task.template") -> str:
    """A record's text.

    Args:
        source: The template.
        fields: What it may name.
        setting: Where it was given.

    Raises:
        DataError: When the template fails on this record.
    """
    try:
        return compile_template(source, setting).render(fields)
    except (UndefinedError, SecurityError, TypeError, ValueError, LookupError, OverflowError) as error:
        raise DataError(f"{_shown(source, setting)} fails: {error}", f"Columns: {', '.join(fields)}.") from error


def _parsed(source: str, setting: str = "task.template") -> nodes.Template:
    if len(source) > _LONGEST:
        raise ConfigError(
            f"{_shown(source, setting)} has {len(source):,} characters", f"At most {_LONGEST:,} are allowed."
        )
    try:
        return _ENVIRONMENT.parse(source)
    except TemplateSyntaxError as error:
        raise ConfigError(f"{_shown(source, setting)} line {error.lineno}: {error.message}") from error
    except RecursionError as error:
        raise ConfigError(f"{_shown(source, setting)}: nested too deeply", _INSTEAD) from error


def _require_harmless(source: str, node: nodes.Node, setting: str, inside_loop: bool = False) -> None:
    is_loop = isinstance(node, nodes.For)
    problem = ""
    if not isinstance(node, _ALLOWED):
        problem = f"{type(node).__name__} is not allowed here"
    elif isinstance(node, nodes.Filter) and node.name not in FILTERS:
        problem = unknown("filter", str(node.name), FILTERS).partition(" Allowed:")[0]
    elif isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
        problem = f"{node.attr} is not a part of a column"
    elif is_loop and inside_loop:
        problem = "a loop inside a loop is not allowed"
    if problem:
        raise ConfigError(f"{_shown(source, setting)} line {node.lineno}: {problem}", _INSTEAD)
    for child in node.iter_child_nodes():
        _require_harmless(source, child, setting, inside_loop or is_loop)


def _shown(source: str, setting: str) -> str:
    short = source if len(source) <= 200 else source[:199] + "…"
    return f"{setting}={short!r}"
