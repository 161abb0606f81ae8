"""Which validation metric chooses a run's weights, and what is written to know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from rung.errors import ConfigError, unknown
from rung.metrics.metric import Metric
from rung.metrics.written import AnyMetric
from rung.run.config import RunConfig


@dataclass(frozen=True, slots=True)
class Selection:
    """How the scorings of a run are judged.

    Attributes:
        metric: By which a scoring is the best.
        written: Validation rows that answers are written to at each scoring; 0 = none.
    """

    metric: Metric
    written: int


def selection(config: RunConfig) -> Selection:
    """How the scorings of a run are judged.

    Raises:
        ConfigError: The metric is none of the task's, or needs answers that are not written.
    """
    training, task = config.training, config.task
    allowed = {metric.name: metric for metric in task.choosing}
    name = training.metric_for_best_model or next(iter(allowed))
    asked = training.predict_with_generate
    if name not in allowed:
        known = task.writes and name in get_args(AnyMetric)
        raise ConfigError(
            f"training.metric_for_best_model: {unknown('metric', name, allowed)}",
            f"Add {name} to task.metrics." if known else "Name one of these, or leave it out.",
        )
    if not task.writes:
        if asked is True:
            raise ConfigError(
                f"training.predict_with_generate=true: task={task.name} names labels, and writes no answers",
                "Leave it out: all validation rows are answered at each scoring.",
            )
        return Selection(allowed[name], 0)
    needed = allowed[name].rows != "loss"
    if needed and asked is False:
        raise ConfigError(
            f"training.metric_for_best_model={name} is of written answers, and training.predict_with_generate=false",
            "Leave predict_with_generate out, or choose weights by the loss.",
        )
    return Selection(allowed[name], training.max_predict_rows if asked is True or needed else 0)
