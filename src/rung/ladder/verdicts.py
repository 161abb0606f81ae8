"""Judges rungs against the reference, the best rung on validation.

Each rung is judged by its paired difference (rung - reference) in the task's main metric on the test rows, with
bounds that hold for all rungs of the ladder together:

- **sufficient**: the one-sided 95 % lower bound is above `-margin`; the reference is sufficient by definition;
- **insufficient**: the one-sided 95 % upper bound is below `-margin`: a loss greater than the margin is shown;
- **undecided**: neither. That includes rungs shown to be worse than the reference, but not by how much.

A bound is never nearer to the difference than `resolution`: with few rows, rungs that answer alike may still differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rung.evaluate.deciding import rows_to_decide, two_digits_up
from rung.evaluate.statistics import (
    Differences,
    resolution,
    simultaneous_lower_bounds,
    simultaneous_quantile,
    simultaneous_upper_bounds,
    standard_errors,
)
from rung.ladder.evidence import CONTROLS, Rule, RungEvidence, compare, score_range

_MORE_SEEDS = "its seeds differ so much that more seeds are needed, not more rows alone"

Status = Literal["reference", "sufficient", "insufficient", "undecided"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the test rows say of one rung.

    Attributes:
        status: See the module.
        difference: Rung minus reference in the main metric, or what it is less where less is better: above 0 is better
            than the reference, which has 0, as are its bounds.
        lower_bound: The difference is above it, with the confidence of the rule for all rungs together.
        upper_bound: The difference is below it, likewise.
        rows_needed: About how many more test rows would decide; None when decided, or when none would.
        note: A tie, or a rung that is below a control; may be empty.
    """

    status: Status
    difference: float
    lower_bound: float
    upper_bound: float
    rows_needed: int | None = None
    note: str = ""

    @property
    def is_sufficient(self) -> bool:
        """Whether the rung may be recommended."""
        return self.status in {"reference", "sufficient"}


def judge(reference: RungEvidence, rungs: Sequence[RungEvidence], rule: Rule) -> dict[str, Verdict]:
    """Judges each rung against the reference.

    Args:
        reference: The best rung on validation; one of `rungs`.
        rungs: All rungs, checked by `check_evidence`.
        rule: Metric, margin, confidence.

    Returns:
        Rung name to verdict, in the order of `rungs`.

    Raises:
        ConfigError: The metric is unknown.
    """
    others = [rung for rung in rungs if rung is not reference]
    judged = {reference.name: Verdict("reference", 0.0, 0.0, 0.0)}
    if others:
        differences, width = compare(reference, others, rule), score_range(rungs, rule.metric)
        lower, upper = _bounds(differences, width, rule.level)
        for k, rung in enumerate(others):
            verdict = Verdict(
                status=_status(lower[k], upper[k], rule.margin),
                difference=float(differences.observed[k]),
                lower_bound=float(lower[k]),
                upper_bound=float(upper[k]),
            )
            if verdict.status == "undecided":
                needed = _rows_needed(differences, k, width, rule)
                unlucky = needed is None and differences.luck[k] > 0
                verdict = replace(verdict, rows_needed=needed, note=_MORE_SEEDS if unlucky else "")
            elif verdict.status == "sufficient" and verdict.upper_bound < rule.margin:
                verdict = replace(verdict, note=f"a tie with `{reference.name}`, within the margin")
            judged[rung.name] = verdict
    for name, note in _below_control(rungs, rule).items():
        verdict = judged[name]
        judged[name] = replace(verdict, note=f"{verdict.note}; {note}" if verdict.note else note)
    return {rung.name: judged[rung.name] for rung in rungs}


def _status(lower: float, upper: float, margin: float) -> Status:
    if lower > -margin:
        return "sufficient"
    return "insufficient" if upper < -margin else "undecided"


def _bounds(differences: Differences, width: float, level: float) -> tuple[np.ndarray, np.ndarray]:
    """`[K]` lower and `[K]` upper bounds; `width` is the range of one row's score."""
    observed, samples = differences.observed, differences.samples
    unseen = width * resolution(differences.rows, len(observed), level)
    lower = np.minimum(simultaneous_lower_bounds(observed, samples, level), observed - unseen)
    upper = np.maximum(simultaneous_upper_bounds(observed, samples, level), observed + unseen)
    return lower, upper


def _rows_needed(differences: Differences, k: int, width: float, rule: Rule) -> int | None:
    observed, samples, rows = differences.observed, differences.samples, differences.rows
    quantile = simultaneous_quantile(observed, samples, rule.level)
    error = float(standard_errors(samples)[k])
    more = rows_to_decide(float(observed[k]), error, rows, rule.margin, quantile, float(differences.luck[k]))
    share = abs(float(observed[k]) + rule.margin) / width if width else 1.0
    if more is None or share == 0:
        return None
    # The rows after which `resolution` is finer than the gap to the margin.
    resolving = 1 + math.log((1 - rule.level) / len(observed)) / math.log1p(-min(share, 0.99))
    return max(more, two_digits_up(max(math.ceil(resolving) - rows, 1)))


def _below_control(rungs: Sequence[RungEvidence], rule: Rule) -> dict[str, str]:
    """Notes for the rungs that the best control (on validation) is shown to beat."""
    controls = [rung for rung in rungs if rung.method in CONTROLS]
    others = [rung for rung in rungs if rung.method not in CONTROLS]
    if not controls or not others:
        return {}
    control = min(controls, key=lambda rung: (-rung.validation_score, rung.total_cost, rung.order))
    _, upper = _bounds(compare(control, others, rule), score_range(rungs, rule.metric), rule.level)
    return {
        rung.name: f"below `{control.name}`: "
        + ("not worth its cost" if rung.total_cost >= control.total_cost else "worse, though cheaper")
        for rung, highest in zip(others, upper, strict=True)
        if highest < 0
    }
