"""Metrics with intervals, cost per request, and the rows that prove an artifact."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rung.data.split import Splits
from rung.endpoints.predictor import EndpointPredictor
from rung.evaluate.generating import GeneratingPredictor, Likelihoods, Written
from rung.evaluate.predictor import LocalPredictor
from rung.evaluate.statistics import bootstrap_interval
from rung.metrics.classification import label_indices
from rung.metrics.written import WRITTEN
from rung.run.written import WrittenRows, written_metrics, written_rows
from rung.tasks.base import Task
from rung.tasks.generation import Generation
from rung.types import Prediction, Prompt, Record

Predict = Callable[[Sequence[Record]], list[Prediction]]

INTERVAL_METRICS = ("macro_f1", "accuracy", "mcc")
TIMED_REQUESTS = 24
TIMED_WRITINGS = 3
"""A written answer takes as long as it is: few of them are timed."""
ROWS_WRITTEN = "rows_written"
"""Among the metrics of a scoring: how many rows answers were written to."""
GOLDEN_ROWS = 32
GOLDEN_GROUP = 4
"""Golden rows are scored four at a time, so that the first four can be replayed to the bit."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a run's model can be asked, under the run's prompt.

    Attributes:
        predict: Predictions of records.
        ids: The token ids a request is made of.
        golden: Predictions for the golden rows; None = as `predict`.
        likelihoods: How likely the right texts are, where the model says so; None elsewhere.
        requests: What answering these records took, where an endpoint was asked (`EndpointPredictor.requests`).
    """

    predict: Predict
    ids: Callable[[Record], Sequence[int]]
    golden: Predict | None = None
    likelihoods: Callable[[Sequence[Record]], Likelihoods] | None = None
    requests: Callable[[Sequence[Record]], Mapping[str, Any]] | None = None


def answers_of(predictor: LocalPredictor | EndpointPredictor, prompt: Prompt) -> Answers:
    """What a model can be asked under a prompt."""
    predict, ids = partial(predictor.predict, prompt=prompt), partial(predictor.request_ids, prompt=prompt)
    if isinstance(predictor, EndpointPredictor):
        return Answers(predict, ids, requests=predictor.requests)
    if not isinstance(predictor, GeneratingPredictor):
        return Answers(predict, ids)
    golden, likelihoods = partial(predictor.golden, prompt=prompt), partial(predictor.likelihoods, prompt=prompt)
    return Answers(predict, ids, golden, likelihoods)


def plain_metrics(task: Task, records: Sequence[Record], answers: Answers) -> dict[str, float]:
    """The task's single-number metrics, the main one first; where answers are written, what needs no writing."""
    if answers.likelihoods is not None:
        loss = answers.likelihoods(records).loss
        return {"loss": loss, "perplexity": float(np.exp(loss))}
    metrics = task.metrics([task.truth(record) for record in records], answers.predict(records))
    numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
    if task.main_metric not in numbers:  # a written answer's loss, which an endpoint does not tell
        return numbers
    return {task.main_metric: numbers.pop(task.main_metric), **numbers}


def watched_metrics(task: Task, records: Sequence[Record], answers: Answers, written: int) -> dict[str, float]:
    """What is told of the validation rows while a run trains.

    Args:
        task: The task.
        records: The validation rows.
        answers: What the model can be asked.
        written: How many of the rows, evenly spread, answers are written to; 0 = `plain_metrics` alone.

    Returns:
        `plain_metrics`; with answers written also their metrics, and under `rows_written` of how many rows they are.
    """
    found = plain_metrics(task, records, answers)
    if not written:
        return found
    assert isinstance(task, Generation)
    asked = spread(records, written)
    rows = written_rows(task, asked, answers.predict(asked), None)
    told = {name: WRITTEN[name].of(rows.sums[WRITTEN[name].rows]) for name in rows.measured}
    return {**found, **told, ROWS_WRITTEN: len(asked)}


def spread(records: Sequence[Record], count: int) -> list[Record]:
    """At most `count` records, evenly spread."""
    count = min(count, len(records))
    return [records[at * len(records) // count] for at in range(count)]


def validation_metrics(
    task: Task, records: Sequence[Record], answers: Answers, known: Mapping[str, float] | None
) -> dict[str, float]:
    """`plain_metrics` of the weights a run ends with, and the main metric, by which runs are compared.

    Answers are written for it where it needs them: once, at the end.

    Args:
        task: The task.
        records: The validation rows.
        answers: What the model can be asked.
        known: The metrics, where training found them.
    """
    found = dict(known or plain_metrics(task, records, answers))
    if found.pop(ROWS_WRITTEN, len(records)) < len(records):  # runs are compared by all rows
        found = {name: value for name, value in found.items() if WRITTEN[name].rows == "loss"}
    if task.main_metric not in found and isinstance(task, Generation) and WRITTEN[task.main_metric].rows != "loss":
        written = task.metrics([task.truth(record) for record in records], answers.predict(records))
        found = {**written, **found}
    return found


def learned_metrics(task: Task, splits: Splits, answers: Answers) -> dict[str, float]:
    """`plain_metrics` on rows that were trained on: as many as there are for validation, evenly spread.

    Beside the validation metrics of the same weights they tell how far a run has learned its rows by heart.
    """
    chosen = spread(splits.train, len(splits.validation))
    return {**plain_metrics(task, chosen, answers), "rows": len(chosen)}


def test_metrics(
    task: Task, records: Sequence[Record], predictions: Sequence[Prediction], rows: WrittenRows | None = None
) -> dict[str, Any]:
    """Every metric, the comparable ones with 95 % intervals, as `metrics.json` holds them.

    Args:
        task: The task.
        records: The rows.
        predictions: Their predictions.
        rows: What each row adds to the metrics of written answers (`written_rows`); None where labels are chosen.
    """
    if rows is not None:
        return written_metrics(rows)
    truth = [str(task.truth(record)) for record in records]
    metrics = dict(task.metrics(truth, predictions))
    right = label_indices(task.labels, truth)
    given = label_indices(task.labels, [one.label for one in predictions])
    for name in INTERVAL_METRICS:
        low, high = bootstrap_interval(right, given, len(task.labels), name)
        metrics[name] = {"value": metrics[name], "low": low, "high": high}
    return {**metrics, "labels": list(task.labels)}


def rows_of(
    task: Task, records: Sequence[Record], predictions: Sequence[Prediction], answers: Answers
) -> WrittenRows | None:
    """What each row adds to the metrics of written answers; None where labels are chosen."""
    if not isinstance(task, Generation):
        return None
    asks = answers.likelihoods is not None and any(WRITTEN[name].rows == "loss" for name in task.measured)
    found = answers.likelihoods(records) if asks and answers.likelihoods else None
    return written_rows(task, records, predictions, found)


def uncalibrated(task: Task, predictions: Sequence[Prediction]) -> list[Prediction]:
    """The predictions as they were before the prompt's prior was taken off."""
    bare = []
    for one in predictions:
        if one.label is None:
            bare.append(one)
            continue
        assert one.scores is not None
        shifted = np.exp(np.asarray(one.scores) - max(one.scores))
        bare.append(task.parse_scores(one.id, one.scores, (shifted / shifted.sum()).tolist()))
    return bare


def seconds_per_request(answers: Answers, records: Sequence[Record]) -> float:
    """Median seconds of a request for one record, after a warm-up."""
    sample = list(records[: (TIMED_REQUESTS if answers.likelihoods is None else TIMED_WRITINGS) + 2])
    seconds = []
    for record in sample:
        began = time.perf_counter()
        answers.predict([record])
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[2:] or seconds))


def golden_rows(records: Sequence[Record], answers: Answers) -> list[dict[str, Any]]:
    """Records with their token ids and scores, by which a loaded artifact is checked."""
    chosen = list(records[:GOLDEN_ROWS])
    predict = answers.golden or answers.predict
    rows = []
    for at in range(0, len(chosen), GOLDEN_GROUP):
        group = chosen[at : at + GOLDEN_GROUP]
        for record, one in zip(group, predict(group), strict=True):
            rows.append(
                {
                    "id": record.id,
                    "fields": dict(record.fields),
                    "input_ids": list(answers.ids(record)),
                    "prediction": one.label,
                    "scores": None if one.scores is None else list(one.scores),
                }
            )
    return rows


def prediction_lines(
    task: Task, records: Sequence[Record], predictions: Sequence[Prediction], rows: WrittenRows | None = None
) -> str:
    """The content of `predictions.jsonl`: one line a record, in order.

    A written answer's line has what it adds to the sums that each metric is made of (`rung.metrics.written`).
    """
    lines = [
        {
            "id": record.id,
            "label": task.truth(record),
            "prediction": one.label,
            "probabilities": _list(one.probabilities),
            "scores": _list(one.scores),
            **({"finished": one.finished} if isinstance(one, Written) else {}),
            **({} if rows is None else rows.line(at)),
        }
        for at, (record, one) in enumerate(zip(records, predictions, strict=True))
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _list(values: Sequence[float] | None) -> list[float] | None:
    return None if values is None else list(values)


def json_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics with arrays and tuples as JSON lists."""
    return json.loads(json.dumps(metrics, default=lambda value: value.tolist()))
