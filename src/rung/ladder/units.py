"""Numbers and strange text, worded for people: the terminal, the markdown and the page say the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

MINUS = "−"
NOTHING = "–"

_TERMINAL_CODES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC, DCS and their kin, with their payload
    r"|\x1b[ -/]*[0-~]?"
    r"|\x9b[0-?]*[ -/]*[@-~]",
    re.DOTALL,
)


def plain(text: object) -> str:
    """The text without terminal codes, control characters, direction overrides and lone surrogates.

    They could recolour or rewrite what stands around them; line breaks and tabs become one space.
    """
    cleaned = re.sub(r"\s+", " ", _TERMINAL_CODES.sub("", str(text)))
    return "".join(_visible(character) for character in cleaned)


def clipped(text: object, limit: int) -> str:
    """`plain`, cut to `limit` characters with an ellipsis."""
    cleaned = plain(text)
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1].rstrip() + "…"


def shortened(name: object, limit: int) -> str:
    """`plain`, with the middle left out: names of rungs differ at their ends."""
    cleaned = plain(name)
    if len(cleaned) <= limit:
        return cleaned
    tail = limit // 2
    return cleaned[: limit - tail - 1].rstrip() + "…" + cleaned[-tail:].lstrip()


def seconds(value: float | None) -> str:
    """`0.8 s`, `12.3 s`, `4 min 05 s`, `2 h 10 min`, `3.1 days`."""
    if value is None:
        return NOTHING
    if value < 0.05:
        return "0 s" if value == 0 else milliseconds(value)
    if value < 99.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(value / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{value / 86400:.1f} days"


def milliseconds(value: float | None) -> str:
    """Seconds as milliseconds with three digits: `0.042 ms`, `5.1 ms`, `310 ms`."""
    if value is None:
        return NOTHING
    shown = value * 1000
    return f"{shown:,.0f} ms" if shown >= 100 else f"{shown:.2g} ms" if shown < 10 else f"{shown:.0f} ms"


def size(value: float | None) -> str:
    """Bytes in decimal units: `512 B`, `4.6 MB`, `1.9 GB`."""
    return NOTHING if value is None else _scaled(value, ("B", "kB", "MB", "GB", "TB"))


def count(value: float | None) -> str:
    """`0`, `998`, `12.4 k`, `134.5 M`, `7.2 B`, `1.9 T`."""
    return NOTHING if value is None else _scaled(value, ("", "k", "M", "B", "T")).rstrip()


def money(value: float | None) -> str:
    """An amount of whatever the prices are in, with four digits: `0.0125`."""
    return NOTHING if value is None else f"{value:.4g}"


def score(value: float | None) -> str:
    """A metric with three decimals."""
    return NOTHING if value is None else f"{value:.3f}".replace("-", MINUS)


def signed(value: float | None) -> str:
    """A difference with its sign: `+0.012`, `−0.031`, `0.000`."""
    if value is None:
        return NOTHING
    shown = f"{value:+.3f}"
    return "0.000" if float(shown) == 0 else shown.replace("-", MINUS)


def estimate(value: Mapping[str, float] | None) -> str:
    """`0.913 (0.884–0.940)`."""
    return NOTHING if value is None else f"{score(value['value'])} ({score(value['low'])}–{score(value['high'])})"


def forgetting(value: Mapping[str, Any] | None, changes_weights: bool) -> str:
    """`+0.04 loss`, `−1.5 pt probe`; `none` where the weights were not touched."""
    if value is None:
        return NOTHING if changes_weights else "none"
    change = value["change"]
    shown = f"{change:+.2f} loss" if value["kind"] == "loss" else f"{change * 100:+.1f} pt probe"
    return shown.replace("-", MINUS)


def _scaled(value: float, units: tuple[str, ...]) -> str:
    power = 0
    while abs(value) >= 999.5 and power < len(units) - 1:
        value /= 1000
        power += 1
    return f"{value:.0f} {units[0]}" if power == 0 else f"{value:.1f} {units[power]}"


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cs":
        return "\N{REPLACEMENT CHARACTER}"
    return (
        "" if category == "Cc" or character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069" else character
    )
