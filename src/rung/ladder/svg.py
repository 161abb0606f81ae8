"""The few parts that charts are drawn from: escaped elements, scales, axes, and labels that keep apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from rung.ladder.units import plain

Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps `low..high` to the pixels `start..end`, evenly or by logarithm; `marked` are its ticks if given."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    marked: tuple[float, ...] = ()

    def __call__(self, value: float) -> float:
        low, high, at = (self.low, self.high, value)
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values inside the range: powers of ten (then 2 and 5 between) on a log scale."""
        if self.marked:
            return list(self.marked)
        return _log_ticks(self.low, self.high, most) if self.log else _linear_ticks(self.low, self.high, most)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle that text or a mark takes up."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two overlap."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def inside(self, other: Box) -> bool:
        """Whether it lies wholly in the other."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True, slots=True)
class Label:
    """Where a label goes: the text's start, and whether a line must lead to its point."""

    box: Box
    led: bool


def element(name: str, *children: object, **attributes: object) -> Markup:
    """One element. Children and attribute values are escaped unless they are Markup; `_` in names becomes `-`."""
    written = Markup("").join(
        Markup(' {}="{}"').format(Markup(key.rstrip("_").replace("_", "-")), _value(value))
        for key, value in attributes.items()
    )
    inner = Markup("").join(
        child if isinstance(child, Markup) else escape(plain(child)) for child in children if child is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inner)


def drawing(key: str, title: str, description: str, size: tuple[float, float], body: Iterable[Markup]) -> Markup:
    """A whole picture with its name and its description for those who can't see it; `key` is unique on the page."""
    width, height = size
    return element(
        "svg",
        element("title", title, id=f"{key}-title"),
        element("desc", description, id=f"{key}-desc"),
        *body,
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"{key}-title {key}-desc",
    )


def text(x: float, y: float, content: object, kind: str = "tick", anchor: str = "start") -> Markup:
    """A line of text; `kind` is its class."""
    return element("text", content, x=x, y=y, class_=kind, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def polyline(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """A line through points."""
    return element("polyline", points=" ".join(f"{_value(x)},{_value(y)}" for x, y in points), class_=kind)


def dot(x: float, y: float, radius: float, kind: str, name: str = "") -> Markup:
    """A point; `name` shows when it is hovered."""
    return element("circle", element("title", name) if name else None, cx=x, cy=y, r=radius, class_=kind)


def axes(x: Scale, y: Scale, formats: tuple[Format, Format], names: tuple[str, str]) -> list[Markup]:
    """Horizontal grid lines, both axes' ticks, and both names: the vertical one's stands on top."""
    marks = []
    for value in y.ticks(max(3, int((y.start - y.end) // 36))):
        marks.append(line(x.start, y(value), x.end, y(value), "grid"))
        marks.append(text(x.start - 8, y(value) + 4, formats[1](value), anchor="end"))
    for value in x.ticks(max(2, int((x.end - x.start) // 78))):
        marks.append(line(x(value), y.start, x(value), y.start + 4, "axis"))
        marks.append(text(x(value), y.start + 18, formats[0](value), anchor="middle"))
    marks.append(line(x.start, y.start, x.end, y.start, "axis"))
    marks.append(text(0, 12, names[1], "name"))
    marks.append(text(x.end, y.start + 36, names[0], "name", "end"))
    return marks


def place(
    anchors: Sequence[tuple[float, float]], texts: Sequence[str], taken: Sequence[Box], bounds: Box
) -> list[Label | None]:
    """A place for each label near its point: beside it, else moved up or down step by step.

    Returns:
        A label per point, none of which overlap each other, `taken`, or leave `bounds`; None where there is no room.
    """
    occupied, labels = list(taken), []
    for (x, y), words in zip(anchors, texts, strict=True):
        found = next((label for label in _candidates(x, y, words) if _free(label.box, occupied, bounds)), None)
        labels.append(found)
        if found:
            occupied.append(found.box)
    return labels


def text_width(words: str, size: float = 12) -> float:
    """A cautious guess of how wide text runs, in pixels; East Asian characters are square."""
    return sum(size if ord(character) > 0x2E7F else size * 0.6 for character in words)


def _candidates(x: float, y: float, words: str) -> Iterable[Label]:
    width = text_width(words)
    for step in range(14):
        for shift in (0,) if step == 0 else (-14 * step, 14 * step):
            for left in (x + 9, x - 9 - width, x - width / 2):
                if shift == 0 and left == x - width / 2:
                    continue
                yield Label(Box(left, y + shift - 8, left + width, y + shift + 6), led=step > 1)


def _free(box: Box, occupied: Sequence[Box], bounds: Box) -> bool:
    return box.inside(bounds) and not any(box.meets(other) for other in occupied)


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / max(most, 1)
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [
            factor * 10.0**power
            for power in powers
            for factor in factors
            if low <= factor * 10.0**power <= high * 1.0001
        ]
        if len(ticks) <= most:
            return ticks
    return ticks[:: -(-len(ticks) // most)]


def _value(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else plain(value)
