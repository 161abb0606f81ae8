"""How prompts are compared: by the task's main metric on the same rows, with bounds that hold together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rung.evaluate.intervals import sums_interval
from rung.evaluate.statistics import (
    Differences,
    bootstrap_interval,
    paired_differences,
    paired_sum_differences,
    resolution,
    simultaneous_upper_bounds,
)
from rung.methods.tuning import Ranking
from rung.metrics.classification import METRICS, class_counts, label_indices
from rung.metrics.written import WRITTEN, main_metric, text_rows
from rung.tasks.base import Task
from rung.tasks.generation import Generation
from rung.types import Record


class MetricJudge:
    """Compares lists of answers to the same records; more is better.

    The metric is the task's main one. Where that is the loss, which answers alone don't tell, it is the final answer if
    the task says how it is found, else the words shared with the right text.

    Args:
        task: The task.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    @property
    def metric(self) -> str:
        """The metric's name."""
        if isinstance(self.task, Generation) and WRITTEN[self.task.main_metric].rows == "loss":
            return main_metric(None, self.task.pattern is not None).name
        return self.task.main_metric

    def rank(self, records: Sequence[Record], answers: Sequence[Sequence[Any]], level: float) -> Ranking:
        """Compare `K` lists of answers with the best of them.

        A bound is never nearer to its difference than so few rows can resolve (`resolution`).

        Args:
            records: `N` records.
            answers: `K` lists of `N` answers.
            level: Chance that all bounds hold together.
        """
        scores = [self.interval(records, one, bounds=False)[0] for one in answers]
        leader = int(np.argmax(scores))
        others = [number for number in range(len(answers)) if number != leader]
        ceilings = np.zeros(len(answers))
        if others:
            found = self.differences(records, answers[leader], [answers[number] for number in others])
            upper = simultaneous_upper_bounds(found.observed, found.samples, level)
            ceilings[others] = np.maximum(upper, found.observed + resolution(found.rows, len(others), level))
        return Ranking(tuple(scores), tuple(ceilings.tolist()))

    def differences(
        self, records: Sequence[Record], reference: Sequence[Any], others: Sequence[Sequence[Any]]
    ) -> Differences:
        """How much better than the reference each other list of answers is, with paired resamples."""
        if isinstance(self.task, Generation):
            sums = [self._sums(records, one)[None] for one in (reference, *others)]
            return paired_sum_differences(sums[0], sums[1:], WRITTEN[self.metric].better)
        truth = self._indices([self.task.truth(record) for record in records])
        labels = [self._indices(one) for one in others]
        return paired_differences(truth, self._indices(reference), labels, len(self.task.labels), self.metric)

    def interval(
        self, records: Sequence[Record], answers: Sequence[Any], bounds: bool = True
    ) -> tuple[float, float, float]:
        """The score of one list of answers, with the ends of its 95 % interval (the score itself without `bounds`)."""
        if isinstance(self.task, Generation):
            rows, metric = self._sums(records, answers), WRITTEN[self.metric]
            score = metric.gain(metric.of(rows))
            return (score, *(sums_interval(rows, metric.better) if bounds else (score, score)))
        truth = self._indices([self.task.truth(record) for record in records])
        labels, size = self._indices(answers), len(self.task.labels)
        counts = class_counts(truth, labels, size, np.ones((1, len(truth)), dtype=np.int64))
        score = float(METRICS[self.metric](counts)[0])
        return (score, *(bootstrap_interval(truth, labels, size, self.metric) if bounds else (score, score)))

    def _indices(self, names: Sequence[Any]) -> np.ndarray:
        return label_indices(self.task.labels, names)

    def _sums(self, records: Sequence[Record], answers: Sequence[Any]) -> np.ndarray:
        """`[N, K]` what each answer adds to the metric."""
        assert isinstance(self.task, Generation)
        truth = [self.task.truth(record) or "" for record in records]
        return text_rows(self.metric, truth, ["" if one is None else str(one) for one in answers], self.task.pattern)
