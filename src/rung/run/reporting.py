"""A run under way, and what is written down of it in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rung.data.load import LoadedData
from rung.models.facts import ModelFacts
from rung.run import record
from rung.run.config import RunConfig
from rung.run.forecast import Forecast
from rung.run.score import (
    Answers,
    golden_rows,
    json_metrics,
    learned_metrics,
    prediction_lines,
    rows_of,
    seconds_per_request,
    test_metrics,
    uncalibrated,
    validation_metrics,
)
from rung.run.train import Trained
from rung.tasks.base import Task
from rung.types import Prompt


@dataclass(slots=True)
class Run:
    """A run under way: its settings, its parts, and what it has cost so far."""

    config: RunConfig
    folder: Path
    facts: ModelFacts | None
    data: LoadedData
    task: Task
    choices: Mapping[str, Any]
    cost: record.Ledger = field(default_factory=record.Ledger)
    forecast: Forecast | None = None
    trained: Trained | None = None
    began: float = field(default_factory=time.perf_counter)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds within to an entry of the ledger."""
        began = time.perf_counter()
        yield
        setattr(self.cost, name, getattr(self.cost, name) + time.perf_counter() - began)


def report(
    run: Run,
    answers: Answers,
    forgot: Callable[[], Mapping[str, Any] | None] | None,
    validation: Mapping[str, float] | None = None,
) -> None:
    """Score validation and test once, time requests, keep golden rows, and write it all down.

    Args:
        run: The run.
        answers: What its model can be asked.
        forgot: Gives what the model forgot; None = nothing is measured.
        validation: The validation metrics, where training found them.
    """
    splits, task = run.data.splits, run.task
    with run.timed("eval_seconds"):
        validation = validation_metrics(task, splits.validation, answers, validation)
        predictions = answers.predict(splits.test)
        rows = rows_of(task, splits.test, predictions, answers)
        tested = test_metrics(task, splits.test, predictions, rows)
        learned = None if run.trained is None else learned_metrics(task, splits, answers)
    metrics: dict[str, Any] = {"train": learned, "validation": validation, "test": tested}
    prompt = _prompt(run.folder)
    if prompt is not None and prompt.calibration is not None:
        metrics["uncalibrated"] = test_metrics(task, splits.test, uncalibrated(task, predictions))
    metrics["forgetting"] = None if forgot is None else forgot()
    _measure_requests(run, answers)
    run.cost.peak_memory_bytes = record.peak_memory()
    golden = golden_rows(splits.test, answers)
    lines = prediction_lines(task, splits.test, predictions, rows)
    record.write_findings(run.folder, record.Findings(json_metrics(metrics), lines, golden, run.cost))


def _measure_requests(run: Run, answers: Answers) -> None:
    """What a request takes; an endpoint's are not sent again for it: each was timed when it was answered."""
    tested = run.data.splits.test
    if answers.requests is not None:
        found = answers.requests(tested)
        run.cost.endpoint = found["ledger"]
        run.cost.seconds_per_request = found["seconds_per_request"]
        run.cost.tokens_per_request = found["tokens_per_request"]
        return
    run.cost.seconds_per_request = seconds_per_request(answers, tested)
    sample = tested[:100]
    run.cost.tokens_per_request = sum(len(answers.ids(record)) for record in sample) / len(sample)


def _prompt(folder: Path) -> Prompt | None:
    path = folder / "prompt.json"
    return record.read_prompt(path) if path.exists() else None
