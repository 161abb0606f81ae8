"""What training took, rung by rung: a table of its own, since it only concerns those who choose among methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rung.ladder import units
from rung.metrics.metric import MACRO_F1

_FEWEST = 2
"""A table of one rung compares nothing."""


def columns(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The heads of the table."""
    return (
        "rung",
        "trained params",
        "optimizer state",
        "step",
        "all steps",
        "peak memory (process)",
        f"overfitting ({_told_by(report)})",
        f"{report['metric']['title']} by seed",
    )


def note(report: Mapping[str, Any]) -> str:
    """What the heads mean."""
    told = _told_by(report)
    gap = f"{told} on rows it was trained on minus {told} on as many validation rows"
    if told == "loss":
        gap = "loss on validation rows minus loss on as many rows it was trained on"
    return (
        "Optimizer state: moments, and full-precision masters of weights stored in bf16. Peak memory is the most that"
        f" the whole process held: libraries, model, training and scoring. Overfitting: {gap}, with the same weights."
    )


def took(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A line for each finished rung that trained weights, in ladder order; none where fewer than two have told it."""
    rungs = [rung for rung in report["rungs"] if rung["cost"] and rung["cost"]["seconds_per_step"] is not None]
    return [_line(rung, report["metric"]["name"]) for rung in rungs] if len(rungs) >= _FEWEST else []


def seeds_in_words(report: Mapping[str, Any]) -> str:
    """What several seeds mean for the numbers; empty where there is one."""
    found = (one["seed"] for rung in report["rungs"] for one in rung.get("seeds", ()) if one["cost"])
    seeds = tuple(dict.fromkeys(found))
    if not seeds:
        return ""
    return (
        f"Rungs that depend on chance were run with seeds {', '.join(map(str, seeds))}: quality and forgetting are"
        " means over them, costs medians; intervals and bounds hold the spread of the seeds and that of the test rows."
    )


def _told_by(report: Mapping[str, Any]) -> str:
    """What tells overfitting, in words."""
    metric = report["metric"]
    return metric["title"] if metric["name"] == MACRO_F1.name else "loss"


def _line(rung: Mapping[str, Any], metric: str) -> tuple[str, ...]:
    cost = rung["cost"]
    runs = [one["cost"] for one in rung.get("seeds", ()) if one["cost"]]
    scores = [one[metric] for one in rung.get("seeds", ()) if one.get(metric) is not None]
    return (
        rung["name"],
        units.count(cost["trainable_parameters"]),
        units.size(cost["optimizer_bytes"]),
        units.milliseconds(cost["seconds_per_step"]),
        _ranged(cost["train_seconds"], [one["train_seconds"] for one in runs], units.seconds),
        _ranged(cost["peak_memory_bytes"], [one["peak_memory_bytes"] for one in runs], units.size),
        units.signed(rung["metrics"]["overfitting"]),
        f"{units.score(min(scores))}–{units.score(max(scores))}, {len(scores)} seeds" if scores else units.NOTHING,
    )


def _ranged(middle: float | None, values: Sequence[float | None], shown: Callable[[float | None], str]) -> str:
    """The median, and the range where there are several."""
    known = [value for value in values if value is not None]
    if len(known) < 2 or shown(min(known)) == shown(max(known)):
        return shown(middle)
    return f"{shown(middle)} ({shown(min(known))}–{shown(max(known))})"
