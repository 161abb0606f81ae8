"""Predictions from a control."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rung.methods.control import FittedControl
from rung.tasks.base import Task
from rung.types import Prediction, Record

_SMALLEST = 1e-12


class ControlPredictor:
    """Predicts records with a fitted control.

    Args:
        task: The task.
        fitted: The control; set once it is fitted.
    """

    def __init__(self, task: Task, fitted: FittedControl | None = None) -> None:
        self.task = task
        self.fitted = fitted

    def texts(self, records: Sequence[Record]) -> list[str]:
        """What a bag of words reads: the text, or both texts of a pair."""
        examples = [self.task.render(record, self.task.prompt) for record in records]
        return [one.text if one.pair is None else f"{one.text}\n{one.pair}" for one in examples]

    def predict(self, records: Sequence[Record]) -> list[Prediction]:
        """Predictions in the order of the records; scores are log-probabilities."""
        assert self.fitted is not None
        shares = self.fitted.probabilities(self.texts(records))
        logs = np.log(np.maximum(shares, _SMALLEST))
        return [
            self.task.parse_scores(record.id, log.tolist(), share.tolist())
            for record, log, share in zip(records, logs, shares, strict=True)
        ]
