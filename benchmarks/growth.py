"""How a LoRA step grows with the length of its rows and with their number: seconds and bytes a token, drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.runner import ROOT
from benchmarks.spec import Size, Spec, Survey

LENGTHS = (64, 128, 256, 512, 1024, 2048)
BATCH_OF_LENGTHS = 4
BATCHES = (1, 2, 4, 8, 16, 32)
LENGTH_OF_BATCHES = 128
SIZES = (1_000, 10_000, 100_000, 1_000_000)
STEPS = 2
FASTER = 1.1
"""What grows by more than this beside the work is said to grow faster: timings differ by as much."""


def benches(size: Size) -> list[Survey]:
    """The curves, a process each point."""
    few = slice(2) if size.smoke else slice(None)
    lengths = [
        Spec(
            f"growth_length.{length}",
            "growth_step:step",
            {"length": length, "batch": BATCH_OF_LENGTHS, "steps": STEPS},
            f"{BATCH_OF_LENGTHS} rows of {length} tokens",
        )
        for length in LENGTHS[few]
    ]
    batches = [
        Spec(
            f"growth_batch.{batch}",
            "growth_step:step",
            {"length": LENGTH_OF_BATCHES, "batch": batch, "steps": STEPS},
            f"{batch} rows of {LENGTH_OF_BATCHES} tokens",
        )
        for batch in BATCHES[few]
    ]
    what = "of a LoRA step (SmolLM2-135M, r=16, unrelated rows, every position supervised)"
    return [
        Survey("growth_length", f"seconds and memory {what} by length, {BATCH_OF_LENGTHS} rows", lengths, BY_LENGTH),
        Survey("growth_batch", f"seconds and memory {what} by rows of {LENGTH_OF_BATCHES} tokens", batches, BY_BATCH),
        _rows(size),
    ]


def _rows(size: Size) -> Survey:
    specs = [
        Spec(f"growth_rows.{rows}", "growth_rows:through", {"size": rows}, f"{rows:,} rows", timeout=1200)
        for rows in (SIZES[:1] if size.smoke else SIZES)
    ]
    return Survey("growth_rows", "rows through the data path, a thousand to a million", specs, "growth:by_rows")


def by_rows(found: Mapping[str, Any]) -> list[str]:
    """Speed and memory of the data path, as markdown; draws docs/growth_rows.svg."""
    from benchmarks.growth_chart import picture_of_rows

    measured = {result["spec"]["args"]["size"]: result for result in found.values() if result["status"] == "ok"}
    lines: list[str] = []
    if len(measured) > 2:
        speeds = [size / result["seconds"] for size, result in measured.items()]
        held = [max(stage["anonymous"] for stage in one["stages"].values()) / size for size, one in measured.items()]
        (ROOT / "docs" / "growth_rows.svg").write_text(
            picture_of_rows("growth_rows", list(measured), speeds, held), encoding="utf-8"
        )
        lines += ["![Rows a second and bytes a row by rows of the file](growth_rows.svg)", ""]
    stages = list(next(iter(measured.values()))["stages"]) if measured else []
    lines += ["| rows | " + " | ".join(stages) + " | most memory |", "|---" * (len(stages) + 2) + "|"]
    for size, result in measured.items():
        most = max(stage["anonymous"] for stage in result["stages"].values())
        told = [f"{result['stages'][name]['rows_per_second']:,.0f}" for name in stages]
        lines.append(
            f"| {size:,} | " + " | ".join(told) + f" | {most / 1e6:,.0f} MB ({most / size:,.0f} bytes a row) |"
        )
    return [
        *lines,
        "",
        "Rows a second by stage; memory is the process's own, beyond what it held before the first.",
        "",
    ]


BY_LENGTH, BY_BATCH = "growth:by_length", "growth:by_batch"


def by_length(found: Mapping[str, Any]) -> list[str]:
    """The curve over lengths, as markdown; draws docs/growth_length.svg."""
    return _rendered("growth_length", "length", "tokens of a row", found)


def by_batch(found: Mapping[str, Any]) -> list[str]:
    """The curve over batch sizes, as markdown; draws docs/growth_batch.svg."""
    return _rendered("growth_batch", "batch", "rows of a step", found)


def _rendered(name: str, key: str, axis: str, found: Mapping[str, Any]) -> list[str]:
    from benchmarks.growth_chart import Point, picture  # draws with Rung's own parts, which the harness has no need of

    points = [
        Point(
            at=result["spec"]["args"][key],
            tokens=result["spec"]["args"]["length"] * result["spec"]["args"]["batch"],
            seconds=result["median_seconds"],
            flops=result["flops_step"],
            bytes=result["step_bytes"],
            peak=result["peak_bytes"],
        )
        for result in found.values()
        if result["status"] == "ok"
    ]
    lines = []
    if len(points) > 2:  # fewer are no curve
        (ROOT / "docs" / f"{name}.svg").write_text(picture(name, axis, points), encoding="utf-8")
        lines += [f"![Seconds and bytes a token by {axis}]({name}.svg)", ""]
    lines += [
        f"| {axis} | s a step | ms a token | GFLOP/s | GB a step | KB a token | peak GB |",
        "|---|---|---|---|---|---|---|",
    ]
    for point in points:
        lines.append(
            f"| {point.at} | {point.seconds:.2f} | {1e3 * point.seconds / point.tokens:.2f} "
            f"| {point.flops / point.seconds / 1e9:.0f} | {point.bytes / 1e9:.2f} "
            f"| {point.bytes / point.tokens / 1e3:.0f} | {point.peak / 1e9:.2f} |"
        )
    missing = [f"{one['spec']['name']} ({one['status']})" for one in found.values() if one["status"] != "ok"]
    lines += ["", *([f"Not measured: {', '.join(missing)}.", ""] if missing else []), *_said(axis, points)]
    return lines


def _said(axis: str, points: list[Any]) -> list[str]:
    """What grows faster than the work, measured from where the work goes fastest and a token takes least memory."""
    if len(points) < 2:
        return []
    best = max(points, key=lambda point: point.flops / point.seconds)
    last = points[-1]
    slower = (last.seconds / last.flops) / (best.seconds / best.flops)
    larger = (last.bytes / last.tokens) / min(point.bytes / point.tokens for point in points)
    work = (last.flops / last.tokens) / (points[0].flops / points[0].tokens)
    told = [
        f"From {points[0].at} to {last.at} {axis} the useful arithmetic of a token grows {work:.2f}-fold.",
        f"A unit of it is cheapest at {best.at}; at {last.at} it takes {slower:.2f} times as long, "
        f"and a token {larger:.2f} times the least memory of all points.",
    ]
    faster = [what for what, by in (("time", slower), ("memory", larger)) if by > FASTER]
    told.append(f"Faster than the work grows: {' and '.join(faster)}." if faster else "Nothing outgrows the work.")
    return [" ".join(told)]
