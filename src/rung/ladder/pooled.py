"""What the runs of one rung come to together: the mean of its seeds, with an interval that holds rows and seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rung.evaluate.intervals import sums_interval
from rung.evaluate.statistics import bootstrap_interval
from rung.ladder.records import Cost, Estimate, Forgetting, TestMetrics, WrittenMetrics
from rung.ladder.store import RunRecord
from rung.metrics.classification import label_indices
from rung.metrics.metric import Metric
from rung.metrics.written import WRITTEN

_WITH_INTERVAL = ("macro_f1", "accuracy", "mcc")


def scores_on_test(records: Sequence[RunRecord]) -> dict[str, Any]:
    """The metrics on the test rows as the report holds them: a single run's own, else means over the seeds.

    Args:
        records: The rung's runs, all on the same test rows.
    """
    written = [one.metrics.test for one in records if isinstance(one.metrics.test, WrittenMetrics)]
    if written:
        names = [name for name in written[0].scores if all(name in one.scores for one in written)]
        return {name: _written(name, records, [one.scores[name] for one in written]) for name in names}
    tests = [one.metrics.test for one in records if isinstance(one.metrics.test, TestMetrics)]
    if len(tests) == 1:
        kept = {*_WITH_INTERVAL, "expected_calibration_error"}
        return tests[0].model_dump(mode="json", include=kept)
    means: dict[str, Any] = {name: _mean_estimate(name, records, tests) for name in _WITH_INTERVAL}
    return {**means, "expected_calibration_error": _mean([test.expected_calibration_error for test in tests])}


def on_test(record: RunRecord, metric: Metric) -> float | None:
    """One run's value of a metric on the test rows; None where it has none."""
    test = record.metrics.test
    found = test.scores.get(metric.name) if isinstance(test, WrittenMetrics) else getattr(test, metric.name, None)
    return found.value if isinstance(found, Estimate) else None


def answers(records: Sequence[RunRecord]) -> list[list[str | None]]:
    """`[S][N]` answers of each run, in the order of the first one's test rows."""
    by_id = [{row.id: row.prediction for row in record.predictions} for record in records]
    return [[given[row.id] for row in records[0].predictions] for given in by_id]


def sums(records: Sequence[RunRecord], metric: Metric) -> list[list[tuple[float, ...]]] | None:
    """`[S][N][K]` what each answer adds to a metric, by the first run's rows; None where a run lacks it."""
    by_id = [{row.id: row.sums.get(metric.rows) for row in record.predictions} for record in records]
    rows = [[given[row.id] for row in records[0].predictions] for given in by_id]
    known = [[parts for parts in run if parts is not None] for run in rows]
    return known if all(len(run) == len(found) > 0 for run, found in zip(rows, known, strict=True)) else None


def validation_score(records: Sequence[RunRecord], metric: Metric) -> float | None:
    """The main metric on the validation rows, turned so that more is better: the mean over the seeds, or None."""
    mean = _mean([record.metrics.validation.get(metric.name) for record in records])
    return None if mean is None else metric.gain(mean)


def overfitting(records: Sequence[RunRecord], metric: Metric) -> float | None:
    """How much better a run is on rows it was trained on than on validation rows, the mean over the seeds.

    Both are of the weights that a run ended with, on equally many rows. None where no weights were trained.

    Args:
        records: The rung's runs.
        metric: What tells it (`told_by`).
    """
    gaps = [
        metric.gain(learned - score)
        for record in records
        if isinstance(learned := (record.metrics.train or {}).get(metric.name), int | float)
        and isinstance(score := record.metrics.validation.get(metric.name), int | float)
    ]
    return _mean(gaps) if len(gaps) == len(records) else None


def told_by(metric: Metric) -> Metric:
    """What tells overfitting: the main metric, or where answers are written the loss, which needs no writing."""
    return metric if metric.value is None else WRITTEN["loss"]


def forgetting(records: Sequence[RunRecord]) -> Forgetting | None:
    """What the root model lost, the mean over the seeds; None where it was not measured."""
    found = [record.metrics.forgetting for record in records if record.metrics.forgetting]
    if len(found) < len(records):
        return None
    means = {part: statistics.fmean(getattr(one, part) for one in found) for part in ("before", "after", "change")}
    return Forgetting(kind=found[0].kind, **means)


def cost(records: Sequence[RunRecord]) -> Cost:
    """What one run takes: the median over the seeds of each part; None where a run has not measured it."""
    if len(records) == 1:
        return records[0].cost
    charged = [record.cost.endpoint for record in records if record.cost.endpoint]
    medians = _medians([record.cost.model_dump(exclude={"endpoint"}) for record in records])
    of_endpoint = _medians([one.model_dump() for one in charged]) if len(charged) == len(records) else None
    return Cost.model_validate({**medians, "endpoint": of_endpoint})


def _medians(runs: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    return {name: _median([one[name] for one in runs]) for name in runs[0]}


def _mean_estimate(name: str, records: Sequence[RunRecord], tests: Sequence[TestMetrics]) -> dict[str, float] | None:
    values = [getattr(test, name) for test in tests]
    if None in values:
        return None
    labels = list(tests[0].labels)
    truth = label_indices(labels, [row.label for row in records[0].predictions])
    given = np.stack([label_indices(labels, seed) for seed in answers(records)])
    low, high = bootstrap_interval(truth, given, len(labels), name)
    return Estimate(value=statistics.fmean(one.value for one in values), low=low, high=high).model_dump()


def _written(name: str, records: Sequence[RunRecord], values: Sequence[Estimate]) -> dict[str, float] | None:
    """A metric of written answers; the interval of a mean over seeds is made from what rows add."""
    if len(values) == 1:
        return values[0].model_dump()
    metric = WRITTEN.get(name)
    parts = None if metric is None else sums(records, metric)
    if metric is None or metric.value is None or parts is None:
        return None
    low, high = sums_interval(np.asarray(parts, dtype=np.float64), metric.value)
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
