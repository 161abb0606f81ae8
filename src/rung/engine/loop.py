"""The one training loop. It knows no method and no objective."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from rung.engine.optim import Optimizer
from rung.engine.schedule import ScheduleKind, learning_rate
from rung.engine.sources import BatchSource
from rung.errors import TrainingError
from rung.types import Batch, Loss


class Learner(Protocol):
    """What is trained: counts known beforehand, sums computed per micro-batch."""

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """What each term's sum is divided by."""
        ...

    def loss(self, batch: Batch) -> Loss:
        """Sums per term."""
        ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """Length and learning rate of a run: peak rate, steps in all, steps of warm-up, shape."""

    peak: float
    total: int
    warmup: int
    kind: ScheduleKind
    max_grad_norm: float
    seed: int


@dataclass(slots=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: Optimizer steps taken.
        loss: Of the last step.
        grad_norm: Of the last step, before clipping.
        learning_rate: Of the last step.
        stop: A hook wants the run to end.
        seconds: Spent in steps alone, since the run's very start.
        tokens: Row tokens seen.
        scalars: What hooks carry over a resume, as JSON values.
    """

    step: int = 0
    loss: float = float("nan")
    grad_norm: float = float("nan")
    learning_rate: float = 0.0
    stop: bool = False
    seconds: float = 0.0
    tokens: int = 0
    scalars: dict[str, Any] = field(default_factory=dict)


class Hook(Protocol):
    """A side duty after each step: scoring, checkpoints, logging."""

    def after_step(self, progress: Progress) -> None:
        """Called once the weights have moved."""
        ...


def train(
    learner: Learner,
    source: BatchSource,
    optimizer: Optimizer,
    schedule: Schedule,
    progress: Progress,
    hooks: Sequence[Hook],
) -> Progress:
    """Train from `progress.step` to the end of the schedule, or until a hook says stop.

    Args:
        learner: What is trained.
        source: Its micro-batches.
        optimizer: Steps its parameters.
        schedule: Learning rate and length.
        progress: Where to start; updated in place.
        hooks: Called in order after every step.

    Returns:
        The progress at the end.

    Raises:
        TrainingError: A loss or gradient is not finite: the rows are named and no step is taken.
    """
    while progress.step < schedule.total and not progress.stop:
        began = time.perf_counter()
        batches = source.step(progress.step)
        counts = _total(learner, batches)
        progress.loss = 0.0
        for number, batch in enumerate(batches):
            torch.manual_seed(micro_seed(schedule.seed, progress.step, number))
            loss = learner.loss(batch)
            _require_finite_loss(progress.step, batch, loss)
            value = torch.stack([term.weight * term.sum / counts[name] for name, term in loss.terms.items()]).sum()
            value.backward()
            progress.loss += float(value.detach())
        progress.grad_norm = optimizer.clip(schedule.max_grad_norm)
        _require_finite_gradient(progress, batches)
        progress.learning_rate = schedule.peak * learning_rate(
            progress.step, schedule.total, schedule.warmup, schedule.kind
        )
        optimizer.step(progress.learning_rate)
        optimizer.zero_grad()
        progress.step += 1
        progress.tokens += sum(len(sequence) for batch in batches for sequence in batch.sequences)
        progress.seconds += time.perf_counter() - began
        for hook in hooks:
            hook.after_step(progress)
    return progress


def micro_seed(seed: int, step: int, micro: int, rank: int = 0) -> int:
    """The generator's seed for one micro-batch: dropout resumes exactly without any saved generator state."""
    digest = hashlib.sha256(f"{seed}:{step}:{micro}:{rank}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _total(learner: Learner, batches: Sequence[Batch]) -> dict[str, int]:
    """Each term's count over the whole optimizer step: a mean over micro-batches of different size is wrong."""
    totals: dict[str, int] = {}
    for batch in batches:
        for name, count in learner.counts(batch).items():
            totals[name] = totals.get(name, 0) + count
    return {name: max(count, 1) for name, count in totals.items()}


def _require_finite_loss(step: int, batch: Batch, loss: Loss) -> None:
    if all(torch.isfinite(term.sum) for term in loss.terms.values()):
        return
    bad = [row.id for row, value in zip(batch.rows, loss.per_row.tolist(), strict=True) if not math.isfinite(value)]
    raise TrainingError(
        f"the loss is not finite at step {step + 1}; rows: {', '.join(bad or [row.id for row in batch.rows])}",
        "No weight was changed by this step. Look at these rows, or lower learning_rate.",
    )


def _require_finite_gradient(progress: Progress, batches: Sequence[Batch]) -> None:
    if math.isfinite(progress.grad_norm):
        return
    rows = [row.id for batch in batches for row in batch.rows]
    raise TrainingError(
        f"the gradient is not finite at step {progress.step + 1}; rows: {', '.join(rows[:16])}",
        "No weight was changed by this step. Lower learning_rate or set max_grad_norm.",
    )
