"""The one training loop. It knows no method and no objective."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from rung.engine.finite import NotFiniteError, culprits, require_finite_loss
from rung.engine.optim import Optimizer
from rung.engine.schedule import ScheduleKind, learning_rate
from rung.engine.sources import BatchSource
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
        validation: The validation metrics, where they were taken after the last step.
        scalars: What hooks carry over a resume, as JSON values.
    """

    step: int = 0
    loss: float = float("nan")
    grad_norm: float = float("nan")
    learning_rate: float = 0.0
    stop: bool = False
    seconds: float = 0.0
    tokens: int = 0
    validation: Mapping[str, float] | None = None
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
        NotFiniteError: A loss or gradient is not finite: the rows are named and no step is taken.
    """
    while progress.step < schedule.total and not progress.stop:
        began = time.perf_counter()
        batches = source.step(progress.step)
        counts = _total(learner, batches)
        progress.loss = 0.0
        for number, batch in enumerate(batches):
            _reseed(micro_seed(schedule.seed, progress.step, number))
            loss = learner.loss(batch)
            require_finite_loss(progress.step, batch, loss)
            value = _mean(loss, counts)
            value.backward()
            progress.loss += float(value.detach())
        progress.grad_norm = optimizer.clip(schedule.max_grad_norm)
        if not math.isfinite(progress.grad_norm):
            rows = _behind_the_gradient(learner, optimizer, schedule.seed, progress.step, batches)
            raise NotFiniteError("gradient", progress.step + 1, rows)
        progress.learning_rate = schedule.peak * learning_rate(
            progress.step, schedule.total, schedule.warmup, schedule.kind
        )
        optimizer.step(progress.learning_rate)
        optimizer.zero_grad()
        progress.step += 1
        progress.tokens += sum(sequence.size for batch in batches for sequence in batch.sequences)
        progress.seconds += time.perf_counter() - began
        for hook in hooks:
            hook.after_step(progress)
    return progress


def micro_seed(seed: int, step: int, micro: int, rank: int = 0) -> int:
    """The generator's seed for one micro-batch: dropout resumes exactly without any saved generator state."""
    digest = hashlib.sha256(f"{seed}:{step}:{micro}:{rank}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _reseed(seed: int) -> None:
    """Seed the generators of all devices.

    Where there is no accelerator, `torch.manual_seed` writes down three stack traces each time for devices that never
    come: a quarter of a step of the output layer alone.
    """
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def _total(learner: Learner, batches: Sequence[Batch]) -> dict[str, int]:
    """Each term's count over the whole optimizer step: a mean over micro-batches of different size is wrong."""
    totals: dict[str, int] = {}
    for batch in batches:
        for name, count in learner.counts(batch).items():
            totals[name] = totals.get(name, 0) + count
    return {name: max(count, 1) for name, count in totals.items()}


def _mean(loss: Loss, counts: Mapping[str, int]) -> torch.Tensor:
    """A micro-batch's part of the step's loss: each term divided once, by its count over the whole step."""
    return torch.stack([term.weight * term.sum / counts[name] for name, term in loss.terms.items()]).sum()


def _behind_the_gradient(
    learner: Learner, optimizer: Optimizer, seed: int, step: int, batches: Sequence[Batch]
) -> list[str]:
    """The rows that make the step's gradient not finite. The gradients are spent: no step can follow."""
    counts = _total(learner, batches)

    def is_finite(number: int, batch: Batch) -> bool:
        optimizer.zero_grad()
        _reseed(micro_seed(seed, step, number))
        _mean(learner.loss(batch), counts).backward()
        return math.isfinite(optimizer.clip(0.0))

    return culprits(batches, is_finite)
