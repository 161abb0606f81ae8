"""What a bare word in YAML means: YAML 1.2's core schema, without the traps of 1.1.

`no`, `on` and `2026-01-01` are strings, `1e-4` is a number, and a number that could be octal is refused.
"""

from __future__ import annotations

import re

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_MOST_DIGITS = 300

Scalar = str | int | float | bool | None


def scalar(text: str) -> Scalar:
    """The value of an unquoted YAML scalar.

    Raises:
        ValueError: It is a number we don't take, with the reason and the remedy.
    """
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _LEADING_ZERO.fullmatch(text):
        raise ValueError(f"{text} could be octal or decimal: write {int(text)} for the number, '{text}' for the text")
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a finite number: quote it if it is text")
    if len(text) > _MOST_DIGITS:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return _finite(text)
    return text


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large for a number: quote it if it is text")
    return value
