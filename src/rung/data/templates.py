"""Sandboxed Jinja over a record's columns."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rung.errors import ConfigError, DataError, nearest

_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)


@lru_cache(maxsize=64)
def compile_template(source: str) -> Template:
    """Compile a template once.

    Raises:
        ConfigError: When its syntax is wrong.
    """
    try:
        return _ENVIRONMENT.from_string(source)
    except TemplateSyntaxError as error:
        raise ConfigError(f"task.template={source!r} line {error.lineno}: {error.message}") from error


def check_template(source: str, columns: tuple[str, ...]) -> None:
    """Refuse a template that names a column the data has not.

    Raises:
        ConfigError: With the nearest column.
    """
    compile_template(source)
    for name in sorted(find_undeclared_variables(_ENVIRONMENT.parse(source)) - set(columns)):
        match = nearest(name, columns)
        guess = f" Did you mean {match!r}?" if match else ""
        raise ConfigError(
            f"task.template names {name!r}, which no column has.{guess}", f"Columns: {', '.join(columns)}."
        )


def render(source: str, fields: Mapping[str, Any]) -> str:
    """A record's text.

    Raises:
        DataError: When the template fails on this record.
    """
    try:
        return compile_template(source).render(fields)
    except (UndefinedError, SecurityError, TypeError, ValueError) as error:
        raise DataError(f"task.template={source!r} fails: {error}", f"Columns: {', '.join(fields)}.") from error
