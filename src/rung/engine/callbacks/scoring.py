"""Scores the validation rows, remembers the best, stops early."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rung.engine.loop import Progress

_KEPT = "validation"


def validation(progress: Progress, which: str) -> dict[str, float] | None:
    """The `best` or the `last` validation metrics of a run, resumed or not; None where none were taken.

    They come from the checkpoint, not from the log, which may have been lost.
    """
    return progress.scalars.get(_KEPT, {}).get(which)


@dataclass(frozen=True, slots=True)
class Judge:
    """How validation is judged.

    Attributes:
        metric: The metric that decides.
        score: Gives the validation metrics at the current weights.
        lower_is_better: Whether less of the metric is better.
    """

    metric: str
    score: Callable[[], Mapping[str, float]]
    lower_is_better: bool = False

    def prefers(self, value: float, best: float) -> bool:
        """Whether a value is better than the best so far; equals are not."""
        return value < best if self.lower_is_better else value > best


class Scoring:
    """Scores when due, says so in `progress.validation`, and keeps the best result in `progress.scalars`.

    Args:
        judge: Scores the validation rows.
        every: Steps between scorings; the last step is always scored.
        total: Steps of the run.
        patience: Stop after so many scorings without a better one; None = never.
    """

    def __init__(self, judge: Judge, every: int, total: int, patience: int | None) -> None:
        self.judge = judge
        self.every = every
        self.total = total
        self.patience = patience

    def after_step(self, progress: Progress) -> None:
        """Score when due."""
        progress.validation = None
        if progress.step % self.every and progress.step != self.total:
            return
        progress.validation = found = dict(self.judge.score())
        value = found[self.judge.metric]
        scalars = progress.scalars
        kept = scalars.setdefault(_KEPT, {})
        kept["last"] = found
        # A run may have been gone on with under another metric, whose values are no measure for this one's.
        known = "best_metric" in scalars and scalars.get("best_by", self.judge.metric) == self.judge.metric
        if not known or self.judge.prefers(value, scalars["best_metric"]):
            scalars.update(best_metric=value, best_by=self.judge.metric, best_step=progress.step, worse=0)
            kept["best"] = kept["last"]
        else:
            scalars["worse"] = scalars.get("worse", 0) + 1
        if self.patience is not None and scalars["worse"] >= self.patience:
            progress.stop = True
