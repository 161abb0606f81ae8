"""The report's pictures: pure functions from numbers to inline SVG, styled by the page, with no script."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from markupsafe import Markup

from rung.ladder import units
from rung.ladder.measure import axis_name, gap_name, shown
from rung.ladder.svg import Box, Scale, axes, dot, drawing, element, line, place, polyline, text, text_width
from rung.metrics.metric import MACRO_F1, Metric

FAR_BELOW = 0.3
"""A rung this far below the best is drawn at the chart's edge with its value, or it would squeeze all others."""
_FAR_IN_UNITS = 3.0
"""The same for metrics that are no shares."""

_TIMES = (1e-3, 1e-2, 0.1, 1, 10, 60, 600, 3600, 36000, 86400, 864000)

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Mark:
    """One rung in a chart; more is better, so a loss is turned (`rung.ladder.measure.interval`).

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


def quality_against_cost(
    marks: Sequence[Mark], key: str, width: int, limit: float, metric: Metric = MACRO_F1
) -> Markup:
    """Quality over total cost (log scale) with 95 % intervals; `limit` is the reference's quality less the margin."""
    height = 400 if width > 500 else 380
    costs = [max(mark.cost, 1e-3) for mark in marks]
    x = _cost_scale(costs, 46, width - 8)
    floor = max(mark.value for mark in marks) - (FAR_BELOW if metric.is_share else _FAR_IN_UNITS)
    near = [mark for mark in marks if mark.value >= floor]
    y = _quality_scale([limit, *(end for mark in near for end in (mark.low, mark.high))], height - 46, 62)
    body = axes(x, y, (_duration, _hundredths(metric)), ("total cost, log scale", axis_name(metric)))
    spots = [x(cost) for cost in costs]
    points = [(left, y(max(mark.value, y.low))) for mark, left in zip(marks, spots, strict=True)]
    whiskers = [(y(max(mark.high, y.low)), y(max(mark.low, y.low))) for mark in marks]
    taken = [Box(left - 7, high - 2, left + 7, low + 2) for left, (high, low) in zip(spots, whiskers, strict=True)]
    taken.append(Box(x.start, y(limit) - 1, x.end, y(limit) + 1))
    body.append(line(x.start, y(limit), x.end, y(limit), "limit"))
    for mark, (left, top), (high, low) in zip(marks, points, whiskers, strict=True):
        body.append(line(left, low, left, high, f"whisker {mark.kind}"))
        ends = sorted((mark.low, mark.high), key=metric.gain)
        name = f"{mark.name}: {shown(metric, mark.value)} ({'–'.join(shown(metric, end) for end in ends)})"
        body.append(dot(left, top, 5.5, f"dot {mark.kind}", f"{name}, {units.seconds(mark.cost)}"))
    named = [
        mark if mark in near else replace(mark, name=f"{mark.name} ↓ {shown(metric, mark.value)}") for mark in marks
    ]
    body += _names(named, points, taken, Box(x.start + 2, y.end - 36, x.end, y.start + 4))
    return drawing(
        key,
        "Quality against cost",
        f"{len(marks)} rungs: "
        + "; ".join(f"{m.name} {shown(metric, m.value)} at {units.seconds(m.cost)}" for m in marks),
        (width, height),
        body,
    )


def differences(marks: Sequence[Mark], key: str, width: int, margin: float, metric: Metric = MACRO_F1) -> Markup:
    """Each rung's difference to the reference with its one-sided lower bound, against the limit of `-margin`."""
    wide = width > 500
    step, top, left = (30, 40, 250) if wide else (44, 40, 12)
    bottom, points = top + step * len(marks) + 4, _points if metric.is_share else _amount
    unit = "points" if metric.is_share else metric.unit
    x = _difference_scale(marks, margin, left, width - 14)
    body = [element("rect", x=x(-margin), y=top - 8, width=x.end - x(-margin), height=bottom - top + 8, class_="zone")]
    for value in x.ticks(8 if wide else 4):
        body.append(text(x(value), bottom + 18, points(value), anchor="middle"))
        body.append(line(x(value), top - 8, x(value), bottom, "grid"))
    body.append(line(x(0), top - 8, x(0), bottom, "axis"))
    body.append(line(x(-margin), top - 8, x(-margin), bottom, "limit"))
    body.append(text(x(-margin), top - 16, f"limit {points(-margin)}", "name", "middle"))
    body.append(text(x.end, bottom + 36, f"{gap_name(metric)}, {unit} of {metric.title}", "name", "end"))
    for row, mark in enumerate(marks):
        middle = top + step * (row + 0.5)
        if wide:
            body.append(text(left - 14, middle + 4, units.shortened(mark.name, 34), f"label {mark.kind}", "end"))
        else:
            body.append(text(left, middle - 9, units.shortened(mark.name, 44), f"label {mark.kind}"))
            middle += 6
        body += _difference(mark, x, middle, points)
    told = "; ".join(f"{m.name} {units.signed(m.value)}, at worst {units.signed(m.low)}" for m in marks)
    return drawing(
        key, "Difference to the reference", f"Limit {units.signed(-margin)}. {told}", (width, bottom + 44), body
    )


def steps(curve: Curve, key: str, name: str, told: str, width: int = 440) -> Markup:
    """One quantity by training step: `name` heads the picture, `told` names it for a screen reader."""
    height = 172
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


def quality_by_rows(
    curves: Mapping[str, Sequence[tuple[int, Mark]]], key: str, width: int, metric: Metric = MACRO_F1
) -> Markup:
    """Quality of a few rungs at growing numbers of training rows (each twice the last), with 95 % intervals."""
    height = 320
    rows = sorted({count for curve in curves.values() for count, _ in curve})
    marks = [mark for curve in curves.values() for _, mark in curve]
    room = 0 if width < 500 else max(text_width(units.shortened(name, 34)) for name in curves) + 6
    x = Scale(rows[0] * 0.9, rows[-1] * 1.1, 46, width - 8 - room, log=True, marked=tuple(float(at) for at in rows))
    y = _quality_scale([end for mark in marks for end in (mark.low, mark.high)], height - 46, 34)
    body = axes(x, y, (_whole, _hundredths(metric)), ("training rows, log scale", axis_name(metric)))
    ends, lasts, taken = [], [], []
    for index, (name, curve) in enumerate(curves.items()):
        shift = 5 * (index - (len(curves) - 1) / 2)  # keeps whiskers at equal rows apart
        points = [(x(count) + shift, y(mark.value)) for count, mark in curve]
        kind = curve[-1][1].kind
        body.append(polyline(points, f"curve {kind} dash{index % 3}"))
        for (left, top), (count, mark) in zip(points, curve, strict=True):
            body.append(line(left, y(mark.low), left, y(mark.high), f"whisker {kind}"))
            body.append(dot(left, top, 4, f"dot {kind}", f"{name}, {count} rows: {shown(metric, mark.value)}"))
            taken.append(Box(left - 5, y(mark.high), left + 5, y(mark.low)))
        taken += _along(points)
        ends.append(Mark(name, 0, 0, 0, kind=kind))
        lasts.append(points[-1])
    body += _names(ends, lasts, taken, Box(x.start + 2, y.end - 6, float(width), y.start - 4))
    told = "; ".join(
        f"{name}: " + ", ".join(f"{shown(metric, mark.value)} at {count}" for count, mark in curve)
        for name, curve in curves.items()
    )
    return drawing(key, "Quality by training rows", told, (width, height), body)


def _difference(mark: Mark, x: Scale, middle: float, points: Callable[[float], str]) -> list[Markup]:
    """A difference and its lower bound; one beyond the chart is an arrow with its value."""
    if mark.value < x.low:
        arrow = f"{x.start + 9},{middle - 5} {x.start},{middle} {x.start + 9},{middle + 5}"
        return [
            element("polygon", points=arrow, class_=f"dot {mark.kind}"),
            text(x.start + 14, middle + 4, points(mark.value)),
        ]
    low = x(max(mark.low, x.low))
    parts = [line(low, middle, x(mark.value), middle, f"whisker {mark.kind}")]
    if x.low <= mark.low < mark.value:
        parts.append(line(low, middle - 5, low, middle + 5, f"whisker {mark.kind}"))
    told = f"{mark.name}: {units.signed(mark.value)}, lower bound {units.signed(mark.low)}"
    return [*parts, dot(x(mark.value), middle, 5, f"dot {mark.kind}", told)]


def _along(points: Sequence[tuple[float, float]]) -> list[Box]:
    """Small boxes along a line, so that labels keep off it."""
    boxes = []
    for (x1, y1), (x2, y2) in pairwise(points):
        for part in range(17):
            x, y = x1 + (x2 - x1) * part / 16, y1 + (y2 - y1) * part / 16
            boxes.append(Box(x - 1, y - 1, x + 1, y + 1))
    return boxes


def _names(
    marks: Sequence[Mark], points: Sequence[tuple[float, float]], taken: Sequence[Box], bounds: Box
) -> list[Markup]:
    """Each mark's name beside its point; the recommended and the reference choose their place first."""
    ranked = sorted(range(len(marks)), key=lambda at: (("pick", "reference", "other").index(marks[at].kind), at))
    words = [units.shortened(marks[at].name, 34 if bounds.right > 500 else 22) for at in ranked]
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


def _cost_scale(costs: Sequence[float], start: float, end: float) -> Scale:
    """Logarithmic, with ticks that are round times rather than round numbers of seconds."""
    low, high = min(costs) / 1.8, max(costs) * 2.8
    apart = 10 ** (76 * math.log10(high / low) / (end - start))
    ticks: list[float] = []
    for value in (tick for tick in _TIMES if low <= tick <= high):
        if not ticks or value / ticks[-1] >= apart:
            ticks.append(value)
    return Scale(low, high, start, end, log=True, marked=tuple(ticks))


def _difference_scale(marks: Sequence[Mark], margin: float, start: float, end: float) -> Scale:
    """Fits the differences up to five margins below; those farther down are plainly not enough."""
    lowest = min([-2 * margin, *(mark.low for mark in marks if mark.low >= -5 * margin)])
    highest = max([margin / 2, *(mark.value for mark in marks)])
    return Scale(lowest * 1.12, highest + (highest - lowest) * 0.04, start, end)


def _hundredths(metric: Metric) -> Callable[[float], str]:
    """Writes a place on an axis as the metric itself."""
    return lambda place: f"{metric.gain(place):.2f}".replace("-", units.MINUS)


def _amount(value: float) -> str:
    return f"{value:+.3g}".replace("-", units.MINUS) if value else "0"


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
    return f"{value:.4g}".replace("-", units.MINUS)
