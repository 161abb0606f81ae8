"""The tiny models of the compute tests, and training through the product's own loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from rung.engine.loop import Progress, Schedule, train
from rung.engine.optim import Optimizer, OptimizerConfig
from rung.engine.sources import BatchSource
from rung.methods.adapted import Adapted
from rung.objectives.base import Objective
from rung.types import Batch, Loss

Train = Callable[[Adapted, Objective, BatchSource, int, float], list[float]]


class Learning:
    """An adapted model under an objective, as the loop asks for it."""

    def __init__(self, adapted: Adapted, objective: Objective) -> None:
        self.adapted = adapted
        self.objective = objective

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return self.objective.counts(batch)

    def loss(self, batch: Batch) -> Loss:
        self.adapted.training(model_dropout=False)
        return self.objective.loss(self.adapted, batch)


class Losses:
    """Keeps the loss of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def after_step(self, progress: Progress) -> None:
        self.seen.append(progress.loss)


@pytest.fixture
def fit() -> Train:
    """Train for some steps at a constant rate; the loss of each step."""

    def run(adapted: Adapted, objective: Objective, source: BatchSource, steps: int, rate: float) -> list[float]:
        losses = Losses()
        optimizer = Optimizer(adapted.trainable, OptimizerConfig(learning_rate=rate))
        schedule = Schedule(rate, steps, 0, "constant", 0.0, 7)
        train(Learning(adapted, objective), source, optimizer, schedule, Progress(), [losses])
        adapted.evaluating()
        return losses.seen

    return run
