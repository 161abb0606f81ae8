"""What training took, rung by rung: a table of its own, since it only concerns those who choose among methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rung.ladder import units

COLUMNS = (
    "rung",
    "trained params",
    "optimizer state",
    "step",
    "all steps",
    "peak memory (process)",
    "overfitting (macro-F1)",
    "macro-F1 by seed",
)
NOTE = (
    "Optimizer state: moments, and full-precision masters of weights stored in bf16. Peak memory is the most that the"
    " whole process held: libraries, model, training and scoring. Overfitting: macro-F1 on rows it was trained on minus"
    " macro-F1 on as many validation rows, with the same weights."
)
_FEWEST = 2
"""A table of one rung compares nothing."""


def took(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A line for each finished rung that trained weights, in ladder order; none where fewer than two have told it."""
    rungs = [rung for rung in report["rungs"] if rung["cost"] and rung["cost"]["seconds_per_step"] is not None]
    return [_line(rung) for rung in rungs] if len(rungs) >= _FEWEST else []


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


def _line(rung: Mapping[str, Any]) -> tuple[str, ...]:
    cost = rung["cost"]
    runs = [one["cost"] for one in rung.get("seeds", ()) if one["cost"]]
    scores = [one["macro_f1"] for one in rung.get("seeds", ()) if one["macro_f1"] is not None]
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
