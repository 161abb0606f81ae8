"""Metrics with intervals, cost per request, and the rows that prove an artifact."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rung.evaluate.statistics import bootstrap_interval
from rung.metrics.classification import label_indices
from rung.tasks.base import Task
from rung.types import Prediction, Record

Predict = Callable[[Sequence[Record]], list[Prediction]]

INTERVAL_METRICS = ("macro_f1", "accuracy", "mcc")
TIMED_REQUESTS = 24
GOLDEN_ROWS = 32
GOLDEN_GROUP = 4
"""Golden rows are scored four at a time, so that the first four can be replayed to the bit."""


def plain_metrics(task: Task, records: Sequence[Record], predictions: Sequence[Prediction]) -> dict[str, float]:
    """The task's single-number metrics, the main one first."""
    metrics = task.metrics([task.truth(record) for record in records], predictions)
    numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
    return {task.main_metric: numbers.pop(task.main_metric), **numbers}


def test_metrics(task: Task, records: Sequence[Record], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Every metric, the comparable ones with 95 % intervals, as `metrics.json` holds them."""
    truth = [str(task.truth(record)) for record in records]
    metrics = dict(task.metrics(truth, predictions))
    right = label_indices(task.labels, truth)
    answers = label_indices(task.labels, [one.label for one in predictions])
    for name in INTERVAL_METRICS:
        low, high = bootstrap_interval(right, answers, len(task.labels), name)
        metrics[name] = {"value": metrics[name], "low": low, "high": high}
    return {**metrics, "labels": list(task.labels)}


def uncalibrated(task: Task, predictions: Sequence[Prediction]) -> list[Prediction]:
    """The predictions as they were before the prompt's prior was taken off."""
    bare = []
    for one in predictions:
        assert one.scores is not None
        shifted = np.exp(np.asarray(one.scores) - max(one.scores))
        bare.append(task.parse_scores(one.id, one.scores, (shifted / shifted.sum()).tolist()))
    return bare


def seconds_per_request(predict: Predict, records: Sequence[Record]) -> float:
    """Median seconds of a request for one record, after a warm-up."""
    sample = list(records[: TIMED_REQUESTS + 2])
    seconds = []
    for record in sample:
        began = time.perf_counter()
        predict([record])
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[2:] or seconds))


def golden_rows(
    records: Sequence[Record], predict: Predict, ids: Callable[[Record], Sequence[int]]
) -> list[dict[str, Any]]:
    """Records with their token ids and scores, by which a loaded artifact is checked."""
    chosen = list(records[:GOLDEN_ROWS])
    rows = []
    for at in range(0, len(chosen), GOLDEN_GROUP):
        group = chosen[at : at + GOLDEN_GROUP]
        for record, one in zip(group, predict(group), strict=True):
            rows.append(
                {
                    "id": record.id,
                    "fields": dict(record.fields),
                    "input_ids": list(ids(record)),
                    "prediction": one.label,
                    "scores": None if one.scores is None else list(one.scores),
                }
            )
    return rows


def prediction_lines(task: Task, records: Sequence[Record], predictions: Sequence[Prediction]) -> str:
    """The content of `predictions.jsonl`: one line a record, in order."""
    lines = [
        {
            "id": record.id,
            "label": task.truth(record),
            "prediction": one.label,
            "probabilities": _list(one.probabilities),
            "scores": _list(one.scores),
        }
        for record, one in zip(records, predictions, strict=True)
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _list(values: Sequence[float] | None) -> list[float] | None:
    return None if values is None else list(values)


def json_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics with arrays and tuples as JSON lists."""
    return json.loads(json.dumps(metrics, default=lambda value: value.tolist()))
