"""Draws a growth curve as one SVG file: seconds a token on the left, bytes a token on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rung.ladder.svg import Scale, axes, dot, element, polyline, text

WIDTH, HEIGHT, PANEL = 780, 270, 380

STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff; }
text { fill: #444; } .name { fill: #111; font-weight: 600; }
.grid { stroke: #e4e4e4; } .axis { stroke: #888; }
.curve { fill: none; stroke: #2563eb; stroke-width: 2; } .work { fill: none; stroke: #888; stroke-dasharray: 5 4; }
.dot { fill: #2563eb; }
@media (prefers-color-scheme: dark) {
  svg { background: #161616; } text { fill: #bbb; } .name { fill: #eee; } .grid { stroke: #333; }
  .curve { stroke: #7aa2ff; } .dot { fill: #7aa2ff; }
}
"""


@dataclass(frozen=True, slots=True)
class Point:
    """A measured step.

    Attributes:
        at: Where it stands on the axis.
        tokens: Its tokens.
        seconds: What it took.
        flops: Its useful arithmetic.
        bytes: The most memory it took beyond the loaded model.
        peak: The most memory of the process while it took steps.
    """

    at: int
    tokens: int
    seconds: float
    flops: float
    bytes: int
    peak: int


def picture(name: str, axis: str, points: Sequence[Point]) -> str:
    """The whole file. The dashed line is the useful arithmetic of a token at the best rate of all points."""
    rate = max(point.flops / point.seconds for point in points)
    spent = [1e3 * point.seconds / point.tokens for point in points]
    least = [1e3 * point.flops / rate / point.tokens for point in points]
    held = [point.bytes / point.tokens / 1e6 for point in points]
    told = "; ".join(
        f"{point.at}: {one:.2f} ms and {other:.2f} MB a token"
        for point, one, other in zip(points, spent, held, strict=True)
    )
    places = [point.at for point in points]
    left = _panel(0, (axis, "ms a token; dashed: the work at the best rate"), places, spent, least)
    right = _panel(WIDTH - PANEL, (axis, "MB a token, beyond the loaded model"), places, held, None)
    return _file(name, (f"Seconds and bytes a token by {axis}", told), left, right)


def picture_of_rows(name: str, sizes: Sequence[int], speeds: Sequence[float], held: Sequence[float]) -> str:
    """The whole file: rows a second through the data path, and bytes of memory a row."""
    told = "; ".join(
        f"{size}: {speed:.0f} rows a second, {bytes_:.0f} bytes a row"
        for size, speed, bytes_ in zip(sizes, speeds, held, strict=True)
    )
    left = _panel(0, ("rows of the file", "rows a second, all stages"), sizes, speeds, None)
    right = _panel(WIDTH - PANEL, ("rows of the file", "bytes of memory a row"), sizes, held, None)
    return _file(name, ("Rows a second and bytes a row by rows of the file", told), left, right)


def _file(name: str, told: tuple[str, str], *panels: Markup) -> str:
    title, description = told
    drawn = element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", description, id=f"{name}-desc"),
        element("style", Markup(STYLE)),
        *panels,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=WIDTH,
        height=HEIGHT,
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )
    return f"{drawn}\n"


def _panel(
    left: int, names: tuple[str, str], at: Sequence[int], values: Sequence[float], work: Sequence[float] | None
) -> Markup:
    places = [float(one) for one in at]
    x = Scale(places[0], places[-1], 46, PANEL - 28, log=True, marked=tuple(places))
    y = Scale(0, max([*values, *(work or ())]) * 1.1, HEIGHT - 46, 30)
    body = axes(x, y, (lambda value: f"{value:.0f}", lambda value: f"{value:.4g}"), names)
    if work is not None:
        body.append(polyline([(x(at), y(value)) for at, value in zip(places, work, strict=True)], "work"))
    line = [(x(at), y(value)) for at, value in zip(places, values, strict=True)]
    body.append(polyline(line, "curve"))
    for (across, down), value in zip(line, values, strict=True):
        body += [dot(across, down, 3.5, "dot", f"{value:.3g}"), text(across, down - 8, f"{value:.3g}", anchor="middle")]
    return element("g", *body, transform=f"translate({left},0)")
