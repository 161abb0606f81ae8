"""The best of several scorings, in either direction, and when to stop."""

from __future__ import annotations

import pytest

from rung.engine.callbacks.scoring import Judge, Scoring, validation
from rung.engine.loop import Progress


def best_step(values: list[float], lower_is_better: bool, patience: int | None = None) -> tuple[Progress, int]:
    left = iter(values)
    judge = Judge("loss", lambda: {"loss": next(left)}, lower_is_better)
    scoring = Scoring(judge, 1, len(values), patience)
    progress = Progress()
    for step in range(1, len(values) + 1):
        progress.step = step
        scoring.after_step(progress)
        if progress.stop:
            break
    return progress, int(progress.scalars["best_step"])


@pytest.mark.parametrize(
    ("values", "lower", "step"),
    [([3, 1, 2], True, 2), ([3, 1, 2], False, 1), ([1, 1, 1], True, 1), ([1, 2, 2], False, 2), ([5, 4, 3], True, 3)],
)
def test_the_best_is_lower_or_higher_and_the_first_of_equals(values: list[float], lower: bool, step: int) -> None:
    progress, found = best_step(values, lower)
    assert found == step
    assert progress.scalars["best_metric"] == values[step - 1]


def test_patience_counts_scorings_without_a_better_one() -> None:
    progress, found = best_step([3, 1, 2, 2, 0], True, patience=2)
    assert (progress.step, found, progress.stop) == (4, 2, True)


def test_the_metrics_of_the_best_and_of_the_last_scoring_are_carried_along() -> None:
    progress, _ = best_step([3, 1, 2], True)
    assert validation(progress, "best") == {"loss": 1}
    assert validation(progress, "last") == {"loss": 2}
    assert validation(Progress(), "best") is None


def test_a_run_that_goes_on_under_another_metric_forgets_the_best_of_the_one_before() -> None:
    progress, _ = best_step([3, 1], True)
    scoring = Scoring(Judge("exact_match", lambda: {"loss": 2, "exact_match": 0.2}), 1, 4, patience=1)
    progress.step = 3
    scoring.after_step(progress)
    assert progress.scalars["best_metric"] == 0.2
    assert progress.scalars["best_step"] == 3
    assert not progress.stop
    assert validation(progress, "best") == {"loss": 2, "exact_match": 0.2}
    progress.step = 4
    scoring.after_step(progress)
    assert progress.stop
