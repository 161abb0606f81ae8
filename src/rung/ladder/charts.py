"""The report's pictures: pure functions from numbers to inline SVG, styled by the page, with no script."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rung.ladder import units
from rung.ladder.svg import Box, Scale, axes, dot, drawing, element, line, place, polyline, text

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Mark:
    """One rung in a chart.

    Attributes:
        name: Its name.
        value: What is drawn: a quality, or a difference to the reference.
        low: Lower end of its interval, or its lower bound.
        high: Upper end; equal to `value` where only a lower bound is known.
        cost: Total cost in seconds.
        kind: `pick` (recommended), `reference`, or `other`: its looks.
    """

    name: str
    value: float
    low: float
    high: float
    cost: float = 0.0
    kind: str = "other"


def quality_against_cost(marks: Sequence[Mark], key: str, width: int, limit: float) -> Markup:
    """Quality over total cost (log scale) with 95 % intervals; `limit` is the reference's quality less the margin."""
    height = 380 if width > 500 else 340
    costs = [max(mark.cost, 1e-3) for mark in marks]
    x = Scale(10 ** (math.log10(min(costs)) - 0.25), 10 ** (math.log10(max(costs)) + 0.45), 46, width - 8, log=True)
    y = _quality_scale([limit, *(end for mark in marks for end in (mark.low, mark.high))], height - 46, 34)
    body = axes(x, y, (_duration, _hundredths), ("total cost, log scale", "macro-F1, test"))
    taken = [Box(x(cost) - 6, y(mark.high), x(cost) + 6, y(mark.low)) for mark, cost in zip(marks, costs, strict=True)]
    points = [(x(cost), y(mark.value)) for mark, cost in zip(marks, costs, strict=True)]
    body.append(line(x.start, y(limit), x.end, y(limit), "limit"))
    for mark, (left, top) in zip(marks, points, strict=True):
        body.append(line(left, y(mark.low), left, y(mark.high), f"whisker {mark.kind}"))
        name = f"{mark.name}: {units.score(mark.value)} ({units.score(mark.low)}–{units.score(mark.high)})"
        body.append(dot(left, top, 5.5, f"dot {mark.kind}", f"{name}, {units.seconds(mark.cost)}"))
    body += _names(marks, points, taken, Box(x.start + 2, y.end - 6, x.end, y.start - 4))
    return drawing(
        key,
        "Quality against cost",
        f"{len(marks)} rungs: "
        + "; ".join(f"{m.name} {units.score(m.value)} at {units.seconds(m.cost)}" for m in marks),
        (width, height),
        body,
    )


def differences(marks: Sequence[Mark], key: str, width: int, margin: float) -> Markup:
    """Each rung's difference to the reference with its one-sided lower bound, against the limit of `-margin`."""
    wide = width > 500
    step, top = (30, 40) if wide else (44, 40)
    height = top + step * len(marks) + 44
    left = 230 if wide else 12
    x = _difference_scale(marks, margin, left, width - 14)
    bottom = height - 40
    body = [element("rect", x=x(-margin), y=top - 8, width=x.end - x(-margin), height=bottom - top + 8, class_="zone")]
    for value in x.ticks(6 if wide else 4):
        body.append(text(x(value), bottom + 18, _points(value), anchor="middle"))
        body.append(line(x(value), top - 8, x(value), bottom, "grid"))
    body.append(line(x(0), top - 8, x(0), bottom, "axis"))
    body.append(line(x(-margin), top - 8, x(-margin), bottom, "limit"))
    side = "end" if x(-margin) > width * 0.45 else "start"
    body.append(text(x(-margin), top - 16, f"limit {_points(-margin)} pt", "name", side))
    body.append(text(x.end, bottom + 35, "difference to the reference, points of macro-F1", "name", "end"))
    for row, mark in enumerate(marks):
        middle = top + step * (row + 0.5)
        name = units.clipped(mark.name, 32 if wide else 44)
        if wide:
            body.append(text(left - 14, middle + 4, name, f"label {mark.kind}", "end"))
        else:
            body.append(text(left, middle - 11, name, f"label {mark.kind}"))
            middle += 4
        body.append(line(x(max(mark.low, x.low)), middle, x(mark.value), middle, f"whisker {mark.kind}"))
        if mark.low >= x.low and mark.low != mark.value:
            body.append(line(x(mark.low), middle - 5, x(mark.low), middle + 5, f"whisker {mark.kind}"))
        told = f"{mark.name}: {units.signed(mark.value)}, lower bound {units.signed(mark.low)}"
        body.append(dot(x(max(mark.value, x.low)), middle, 5, f"dot {mark.kind}", told))
    told = "; ".join(f"{m.name} {units.signed(m.value)}, at worst {units.signed(m.low)}" for m in marks)
    return drawing(key, "Difference to the reference", f"Limit {units.signed(-margin)}. {told}", (width, height), body)


def steps(curve: Curve, key: str, name: str, told: str, width: int = 340) -> Markup:
    """One quantity by training step: `name` heads the picture, `told` names it for a screen reader."""
    height = 190
    values = [value for _, value in curve]
    x = Scale(min(0.0, curve[0][0]), max(curve[-1][0], 1), 46, width - 12)
    y = _padded_scale(values, height - 42, 34)
    body = axes(x, y, (_whole, _short), ("step", name))
    points = [(x(step), y(value)) for step, value in curve]
    body.append(polyline(points, "curve"))
    if len(points) <= 16:
        body += [dot(*point, 3, "dot other", _short(value)) for point, value in zip(points, values, strict=True)]
    ends = f"from {_short(values[0])} to {_short(values[-1])} in {_whole(curve[-1][0])} steps"
    return drawing(key, told, ends, (width, height), body)


def quality_by_rows(curves: Mapping[str, Sequence[tuple[int, Mark]]], key: str, width: int) -> Markup:
    """Quality of a few rungs at growing numbers of training rows (each twice the last), with 95 % intervals."""
    height = 320
    rows = sorted({count for curve in curves.values() for count, _ in curve})
    marks = [mark for curve in curves.values() for _, mark in curve]
    x = Scale(rows[0] * 0.9, max(rows[-1], rows[0] + 1) * (1.12 if width > 500 else 1.2), 46, width - 8, log=True)
    y = _quality_scale([end for mark in marks for end in (mark.low, mark.high)], height - 46, 34)
    body = axes(x, y, (_whole, _hundredths), ("training rows, log scale", "macro-F1, test"))
    ends, lasts, taken = [], [], []
    for index, (name, curve) in enumerate(curves.items()):
        shift = 5 * (index - (len(curves) - 1) / 2)  # keeps whiskers at equal rows apart
        points = [(x(count) + shift, y(mark.value)) for count, mark in curve]
        kind = curve[-1][1].kind
        body.append(polyline(points, f"curve {kind} dash{index % 3}"))
        for (left, top), (count, mark) in zip(points, curve, strict=True):
            body.append(line(left, y(mark.low), left, y(mark.high), f"whisker {kind}"))
            body.append(dot(left, top, 4, f"dot {kind}", f"{name}, {count} rows: {units.score(mark.value)}"))
            taken.append(Box(left - 5, y(mark.high), left + 5, y(mark.low)))
        ends.append(Mark(name, 0, 0, 0, kind=kind))
        lasts.append(points[-1])
    body += _names(ends, lasts, taken, Box(x.start + 2, y.end - 6, x.end, y.start - 4))
    told = "; ".join(
        f"{name}: " + ", ".join(f"{units.score(mark.value)} at {count}" for count, mark in curve)
        for name, curve in curves.items()
    )
    return drawing(key, "Quality by training rows", told, (width, height), body)


def _names(
    marks: Sequence[Mark], points: Sequence[tuple[float, float]], taken: Sequence[Box], bounds: Box
) -> list[Markup]:
    """Each mark's name beside its point; the recommended and the reference choose their place first."""
    ranked = sorted(range(len(marks)), key=lambda at: (("pick", "reference", "other").index(marks[at].kind), at))
    words = [units.clipped(marks[at].name, 28 if bounds.right > 500 else 20) for at in ranked]
    drawn: list[Markup] = []
    for at, written, label in zip(
        ranked, words, place([points[at] for at in ranked], words, taken, bounds), strict=True
    ):
        if label is None:
            continue
        x, y = points[at]
        box, baseline = label.box, label.box.bottom - 2
        if label.led:
            near = box.left - 2 if box.left > x else box.right + 2 if box.right < x else (box.left + box.right) / 2
            drawn.append(line(x, y, near, baseline - 4 if near != (box.left + box.right) / 2 else baseline, "leader"))
        anchor = "end" if box.right < x else "start" if box.left > x else "middle"
        start = {"end": box.right, "start": box.left, "middle": (box.left + box.right) / 2}[anchor]
        drawn.append(text(start, baseline, written, f"label {marks[at].kind}", anchor))
    return drawn


def _quality_scale(values: Sequence[float], start: float, end: float) -> Scale:
    low, high = min(values), max(values)
    pad = max((high - low) * 0.06, 0.01)
    return Scale(max(low - pad, min(low, 0.0)), min(high + pad, max(high, 1.0)), start, end)


def _padded_scale(values: Sequence[float], start: float, end: float) -> Scale:
    low, high = min(values), max(values)
    pad = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return Scale(low - pad, high + pad, start, end)


def _difference_scale(marks: Sequence[Mark], margin: float, start: float, end: float) -> Scale:
    """Wide enough for every difference that matters: a rung far below the limit must not squeeze the close ones."""
    lowest = min([*(mark.low for mark in marks), -2 * margin])
    highest = max([*(mark.value for mark in marks), margin / 2])
    return Scale(max(lowest * 1.06, -1.0), highest + (highest - lowest) * 0.04, start, end)


def _hundredths(value: float) -> str:
    return f"{value:.2f}".replace("-", units.MINUS)


def _points(value: float) -> str:
    shown = f"{value * 100:+.3g}"
    return "0" if float(shown) == 0 else shown.replace("-", units.MINUS)


def _duration(value: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")):
        if value >= size:
            return f"{value / size:.2g} {unit}" if value / size < 100 else f"{value / size:.0f} {unit}"
    return f"{value:.1g} s"


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value < 10_000 else units.count(value)


def _short(value: float) -> str:
    shown = f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return shown.replace("-", units.MINUS)
