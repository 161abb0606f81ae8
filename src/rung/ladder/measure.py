"""What the rungs of a ladder are compared by, as its files tell it, and how amounts of it are worded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rung.errors import ArtifactError
from rung.ladder import units
from rung.metrics.metric import MACRO_F1, Metric
from rung.metrics.written import WRITTEN, main_metric

LABELS = "classification"
TEXTS = "generation"


def task_type(task: Any) -> str:
    """The type of a task in a settings file; classification where none is given."""
    return str(task.get("type", LABELS)) if isinstance(task, Mapping) else LABELS


def metric_of(task: Any) -> Metric:
    """The main metric of a task in a settings file.

    Raises:
        ArtifactError: It names a metric that there is none of.
    """
    if task_type(task) != TEXTS:
        return MACRO_F1
    named = task.get("main_metric")
    if named is not None and named not in WRITTEN:
        raise ArtifactError(f"task.main_metric={named!r} is no metric", "The file is damaged, or of a newer version.")
    return main_metric(named, task.get("answer_pattern") is not None)


def amount(metric: Metric, value: float) -> str:
    """A difference in words: `2 points`, `0.02 nats`."""
    return f"{value * 100:.3g} points" if metric.is_share else f"{value:.3g} {metric.unit}"


def short_amount(metric: Metric, value: float) -> str:
    """A difference for a small place: `2.0 pt`, `0.020 nats`."""
    return f"{value * 100:.1f} pt" if metric.is_share else f"{value:.3f} {metric.unit}"


def axis_name(metric: Metric) -> str:
    """What an axis of it is called; it is turned where less is better."""
    return f"{metric.title}, test" + ("; up is less, and better" if metric.lower_is_better else "")


def gap_name(metric: Metric) -> str:
    """What a difference to the reference is called: above 0 is better than the reference."""
    return "gain over the reference" if metric.lower_is_better else "difference to the reference"


def interval(metric: Metric, estimate: Mapping[str, float]) -> tuple[float, float, float]:
    """A value and its interval, turned so that more is better."""
    low, high = sorted((metric.gain(estimate["low"]), metric.gain(estimate["high"])))
    return metric.gain(estimate["value"]), low, high


def shown(metric: Metric, gain: float) -> str:
    """The metric itself, of a value that was turned so that more is better."""
    return units.score(metric.gain(gain))
