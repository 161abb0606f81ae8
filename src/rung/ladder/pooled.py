"""What the runs of one rung come to together: the mean of its seeds, with an interval that holds rows and seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from rung.evaluate.statistics import bootstrap_interval
from rung.ladder.records import Cost, Estimate, Forgetting
from rung.ladder.store import RunRecord
from rung.metrics.classification import label_indices

_WITH_INTERVAL = ("macro_f1", "accuracy", "mcc")


def scores_on_test(records: Sequence[RunRecord]) -> dict[str, Any]:
    """The metrics on the test rows as the report holds them: a single run's own, else means over the seeds.

    Args:
        records: The rung's runs, all on the same test rows.
    """
    tests = [record.metrics.test for record in records]
    if len(tests) == 1:
        kept = {*_WITH_INTERVAL, "expected_calibration_error"}
        return tests[0].model_dump(mode="json", include=kept)
    means: dict[str, Any] = {name: _mean_estimate(name, records) for name in _WITH_INTERVAL}
    return {**means, "expected_calibration_error": _mean([test.expected_calibration_error for test in tests])}


def answers(records: Sequence[RunRecord]) -> list[list[str | None]]:
    """`[S][N]` answers of each run, in the order of the first one's test rows."""
    by_id = [{row.id: row.prediction for row in record.predictions} for record in records]
    return [[given[row.id] for row in records[0].predictions] for given in by_id]


def validation_score(records: Sequence[RunRecord]) -> float | None:
    """Macro-F1 on the validation rows, the mean over the seeds; None where a run has none."""
    return _mean([record.metrics.validation.get("macro_f1") for record in records])


def overfitting(records: Sequence[RunRecord]) -> float | None:
    """Macro-F1 on rows that were trained on minus that on the validation rows, the mean over the seeds.

    Both are of the weights that a run ended with, on equally many rows. None where no weights were trained.
    """
    gaps = [
        learned - score
        for record in records
        if isinstance(learned := (record.metrics.train or {}).get("macro_f1"), int | float)
        and isinstance(score := record.metrics.validation.get("macro_f1"), int | float)
    ]
    return _mean(gaps) if len(gaps) == len(records) else None


def forgetting(records: Sequence[RunRecord]) -> Forgetting | None:
    """What the root model lost, the mean over the seeds; None where it was not measured."""
    found = [record.metrics.forgetting for record in records if record.metrics.forgetting]
    if len(found) < len(records):
        return None
    means = {part: statistics.fmean(getattr(one, part) for one in found) for part in ("before", "after", "change")}
    return Forgetting(kind=found[0].kind, **means)


def cost(records: Sequence[RunRecord]) -> Cost:
    """What one run takes: the median over the seeds of each part; None where a run has not measured it."""
    dumped = [record.cost.model_dump() for record in records]
    if len(dumped) == 1:
        return records[0].cost
    parts = {name: [one[name] for one in dumped] for name in dumped[0]}
    return Cost.model_validate({name: _median(values) for name, values in parts.items()})


def _mean_estimate(name: str, records: Sequence[RunRecord]) -> dict[str, float] | None:
    values = [getattr(record.metrics.test, name) for record in records]
    if None in values:
        return None
    labels = list(records[0].metrics.test.labels)
    truth = label_indices(labels, [row.label for row in records[0].predictions])
    given = np.stack([label_indices(labels, seed) for seed in answers(records)])
    low, high = bootstrap_interval(truth, given, len(labels), name)
    return Estimate(value=statistics.fmean(one.value for one in values), low=low, high=high).model_dump()


def _mean(values: Sequence[Any]) -> float | None:
    known = [float(value) for value in values if isinstance(value, int | float)]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    middle = statistics.median(known)
    return round(middle) if all(isinstance(value, int) for value in known) else middle
