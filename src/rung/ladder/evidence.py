"""What a rung brings to the comparison: its answers to the shared test rows, its validation score, its cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rung.errors import ArtifactError, ConfigError, DataError
from rung.evaluate.statistics import LEVEL, SAMPLES, Differences, paired_differences, paired_sum_differences
from rung.metrics.classification import label_indices
from rung.metrics.metric import MACRO_F1, Metric

CONTROLS = ("majority", "tfidf")
"""Methods that a rung must beat to be worth its cost."""

COST_KEYS = ("train_seconds", "search_seconds", "seconds_per_request")


@dataclass(frozen=True, slots=True)
class RungEvidence:
    """One finished rung.

    A classification rung has `truth` and `predictions`; a rung of another task has `sums`. Either holds one sequence
    per seed, each in the order of `ids`.

    Attributes:
        name: Its name, unique in the ladder.
        model: Model reference; a control has none of its own.
        method: Method type (`lora`, `tfidf`).
        order: Its place in the ladder, lowest first.
        total_cost: Seconds, as `total_cost` counts them.
        validation_score: The main metric on the validation rows; more is better.
        ids: `[N]` ids of the test rows.
        truth: `[N]` right labels.
        predictions: `[S][N]` answers; None = no answer could be read.
        sums: `[S][N][K]` what each answer adds to the sums that the metric is made of.
    """

    name: str
    model: str
    method: str
    order: int
    total_cost: float
    validation_score: float
    ids: Sequence[str]
    truth: Sequence[str] = ()
    predictions: Sequence[Sequence[str | None]] = ()
    sums: Sequence[Sequence[Sequence[float]]] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """How rungs are judged.

    Attributes:
        metric: The task's main metric: one of labels, by a name in `METRICS`, or one of sums over rows.
        margin: How far below the reference still counts as sufficient, in the metric's own unit.
        level: Confidence of the bounds, for all rungs together.
        samples: Bootstrap resamples.
        seed: Same seed, same answer.

    Raises:
        ConfigError: The margin or the level is out of range.
    """

    metric: Metric = MACRO_F1
    margin: float = 0.02
    level: float = LEVEL
    samples: int = SAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.margin > 0 and math.isfinite(self.margin)):
            raise ConfigError(
                f"margin={self.margin}", "Set it above 0: with no margin, no lower rung can be sufficient."
            )
        if not 0 < self.level < 1:
            raise ConfigError(f"level={self.level}", "Set it between 0 and 1, such as 0.95.")


def total_cost(cost: Mapping[str, float | None], expected_requests: float) -> float:
    """Seconds a rung takes in all: training, search, and every request it is expected to answer.

    Loading, tokenisation and evaluation are left out: a ladder pays them for each rung that it compares, whichever
    is chosen. The price of a second is the same for all rungs, since a ladder runs on one machine.

    Args:
        cost: What `cost.json` holds; nothing trained or searched is 0, not None.
        expected_requests: How many answers the user will ask for.

    Raises:
        ArtifactError: A part of the cost is missing, or is no number of seconds.
    """
    for key in COST_KEYS:
        value = cost.get(key)
        if value is None or not (value >= 0 and math.isfinite(value)):
            raise ArtifactError(
                f"cost.json: {key}={value}", f"A rung can't be compared without its cost: {', '.join(COST_KEYS)}, >= 0."
            )
    train, search, request = (float(cost[key] or 0) for key in COST_KEYS)
    return train + search + expected_requests * request


def check_evidence(rungs: Sequence[RungEvidence]) -> None:
    """Refuses rungs that can't be compared.

    Raises:
        DataError: Two share a name, one lacks answers or a score, or they did not answer the same test rows.
    """
    first = rungs[0]
    for rung in rungs:
        if sum(other.name == rung.name for other in rungs) > 1:
            raise DataError(f"two rungs are named {rung.name!r}", "Give each rung of a ladder its own name.")
        if not (math.isfinite(rung.validation_score) and math.isfinite(rung.total_cost)):
            raise DataError(
                f"rung {rung.name!r}: validation_score={rung.validation_score}, total_cost={rung.total_cost}",
                "Both must be numbers: leave a rung that failed out of the comparison.",
            )
        answers = rung.sums or rung.predictions
        complete = rung.ids and answers and (rung.sums or len(rung.truth) == len(rung.ids))
        if not complete or any(len(seed) != len(rung.ids) for seed in answers):
            raise DataError(
                f"rung {rung.name!r}: {len(rung.ids)} test rows, {len(rung.truth)} labels,"
                f" answers per seed: {[len(seed) for seed in answers]}",
                "Each test row needs its label, and one answer from each seed.",
            )
        if not all(math.isfinite(part) for seed in rung.sums for row in seed for part in row):
            raise DataError(f"rung {rung.name!r}: a row's score is not a finite number", "Score the rung again.")
        if _rows(rung) != _rows(first) or len(set(rung.ids)) != len(rung.ids):
            raise DataError(
                f"rungs {first.name!r} and {rung.name!r} were not scored on the same test rows",
                "Score both again on one test file: only paired answers can be compared.",
            )


def compare(reference: RungEvidence, others: Sequence[RungEvidence], rule: Rule) -> Differences:
    """How much better than the reference each of the others is on the test rows; the rungs have been checked.

    Raises:
        ConfigError: The metric is unknown.
    """
    rungs = [reference, *others]
    if rule.metric.value is not None:
        sums = [_in_id_order(rung, np.asarray(rung.sums, dtype=np.float64)) for rung in rungs]
        return paired_sum_differences(sums[0], sums[1:], rule.metric.better, rule.samples, rule.seed)
    named = {name for rung in rungs for seed in rung.predictions for name in seed}.union(reference.truth) - {None}
    labels = sorted(str(name) for name in named)
    truth = _in_id_order(reference, label_indices(labels, reference.truth)[None])[0]
    answers = [
        _in_id_order(rung, np.stack([label_indices(labels, seed) for seed in rung.predictions])) for rung in rungs
    ]
    return paired_differences(truth, answers[0], answers[1:], len(labels), rule.metric.name, rule.samples, rule.seed)


def score_range(rungs: Sequence[RungEvidence], metric: Metric) -> float:
    """The most that one row can change a rung's score by, times the rows: 1 for shares, else by what rows were seen.

    For a loss it is the range, among the rows of a run, of what a row has above the run's mean.
    """
    if metric.is_share:
        return 1.0
    runs = [np.asarray(seed, dtype=np.float64) for rung in rungs for seed in rung.sums]
    above = [(run[:, 0] - run[:, 1] * run[:, 0].sum() / run[:, 1].sum()) / run[:, 1].mean() for run in runs]
    return max(float(np.ptp(one)) for one in above)


def _rows(rung: RungEvidence) -> list[tuple[str, str]]:
    """The test rows and their labels, in an order of their own; tasks with row scores have no labels."""
    labels = [""] * len(rung.ids) if rung.sums else rung.truth
    return sorted(zip(rung.ids, labels, strict=True))


def _in_id_order(rung: RungEvidence, answers: np.ndarray) -> np.ndarray:
    return answers[:, np.argsort(np.asarray(rung.ids), kind="stable")]
