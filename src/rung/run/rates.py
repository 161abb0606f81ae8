"""Which learning rate to try next, and which of those tried is taken: the search without any model in it.

Five rates spread over the range come first, then those that a Gaussian process expects most of (Optuna's; Akiba et al.
2019, arXiv 1907.10902). What is asked next is a function of what was found so far and of the seed alone, so that a
killed search goes on as it would have gone on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

_NAME = "learning_rate"
_DIGITS = 3
"""A rate is one that can be copied: three digits are far finer than what a search can tell apart."""
_SPREAD = (0.0, 0.5, -0.5, 1.0, -1.0)
"""The first rates, as powers of the span: the default itself, and those around it, the nearer ones first."""
_JUDGES = 3
"""Trials there must be before one can be given up for being worse than half of them."""


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How much a search takes.

    Attributes:
        trials: Rates that are tried.
        around: The rate in the middle of those searched; None = the method's default.
        span: The range reaches from that rate / span to that rate * span.
        share: Part of the run's optimizer steps that a trial takes.
        least: Steps that a trial takes at least, where the run has so many.
        most: Steps that a trial takes at most.
        validation_rows: Validation rows a trial is judged by, at most.
        prune: Whether a trial is scored at its half too, and ends there when it is worse than most.
    """

    trials: int = 8
    around: float | None = None
    span: float = 30.0
    share: float = 0.25
    least: int = 32
    most: int = 400
    validation_rows: int = 128
    prune: bool = True

    def steps(self, whole: int) -> int:
        """Optimizer steps of a trial for a run of so many."""
        return min(whole, max(self.least, min(self.most, math.ceil(self.share * whole))))


@dataclass(frozen=True, slots=True)
class Trial:
    """One rate that was tried.

    Attributes:
        learning_rate: The peak rate.
        status: `finished`; `pruned`, given up at its half; or `diverged`, where a loss came to NaN or infinity.
        losses: Optimizer steps to the validation loss there.
        loss: What the rate is judged by; None where the trial did not end.
        seconds: What it took.
    """

    learning_rate: float
    status: Literal["finished", "pruned", "diverged"]
    losses: Mapping[int, float] = field(default_factory=dict)
    loss: float | None = None
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "losses": {str(step): loss for step, loss in self.losses.items()}}

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Trial:
        """Read what `as_dict` gave."""
        return cls(**{**body, "losses": {int(step): loss for step, loss in body["losses"].items()}})


@dataclass(frozen=True, slots=True)
class Range:
    """The rates that are searched, evenly by their logarithm."""

    middle: float
    span: float

    @property
    def low(self) -> float:
        """The lowest rate."""
        return _rounded(self.middle / self.span)

    @property
    def high(self) -> float:
        """The highest rate."""
        return _rounded(self.middle * self.span)

    def first(self) -> list[float]:
        """The rates that are tried whatever comes out."""
        return [_rounded(self.middle * self.span**power) for power in _SPREAD]


def next_rate(done: Sequence[Trial], among: Range, seed: int) -> float:
    """The rate to try after those that were tried."""
    first = among.first()
    if len(done) < len(first):
        return first[len(done)]
    asked = _study(done, among, seed).ask()
    rate = _rounded(asked.suggest_float(_NAME, among.low, among.high, log=True))
    tried = {trial.learning_rate for trial in done}
    if rate not in tried:
        return rate
    # A rate at the edge of the range can be asked for again: half-way to its neighbour tells more.
    nearest = min(tried - {rate}, key=lambda other: (abs(math.log(other / rate)), other))
    return _rounded(math.sqrt(rate * nearest))


def is_hopeless(done: Sequence[Trial], among: Range, step: int, loss: float) -> bool:
    """Whether a trial with this loss at this step is worse than the median of the finished ones there."""
    if len(done) < _JUDGES:
        return False
    asked = _study(done, among, 0).ask()
    asked.report(loss, step)
    return asked.should_prune()


def best(done: Sequence[Trial]) -> Trial | None:
    """The finished trial with the lowest loss; None where none finished."""
    finished = [trial for trial in done if trial.loss is not None]
    return min(finished, key=lambda trial: (trial.loss, trial.learning_rate), default=None)


def _study(done: Sequence[Trial], among: Range, seed: int) -> Any:
    """Optuna's view of what was tried; a trial that did not end is as bad as what was last seen of it, or the worst."""
    import optuna  # half a second, which no run without a search pays

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        sampler=optuna.samplers.GPSampler(seed=seed + len(done), n_startup_trials=1),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_JUDGES),
    )
    space = optuna.distributions.FloatDistribution(among.low, among.high, log=True)
    worst = max((loss for trial in done for loss in trial.losses.values()), default=0.0)
    for trial in done:
        seen = worst if trial.status == "diverged" else trial.losses[max(trial.losses)]
        study.add_trial(
            optuna.trial.create_trial(
                params={_NAME: trial.learning_rate},
                distributions={_NAME: space},
                value=seen if trial.loss is None else trial.loss,
                intermediate_values=dict(trial.losses),
            )
        )
    return study


def _rounded(rate: float) -> float:
    return float(f"{rate:.{_DIGITS - 1}e}")
