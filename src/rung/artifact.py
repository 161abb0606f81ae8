"""A finished run as a thing to use: load it, ask it, check it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rung.endpoints.predictor import EndpointPredictor
from rung.errors import ArtifactError, DataError, nearest
from rung.evaluate.generating import GeneratingPredictor
from rung.evaluate.predictor import LocalPredictor
from rung.methods.control import ControlMethod
from rung.run.controls import ControlPredictor
from rung.run.endpoint import open_endpoint
from rung.run.finished import Finished, attached, read_finished, tensors
from rung.run.memory import memory_in_words
from rung.run.prepare import settle_machine
from rung.run.record import read_prompt
from rung.run.score import GOLDEN_GROUP, Answers, answers_of, json_metrics, rows_of, test_metrics
from rung.run.start import Opened, facts_of, open_model
from rung.tasks.base import Task
from rung.types import Prediction, Record

_TOLERANCE = 0.05
"""Scores of the golden rows may differ by this much on another machine; on the same one they are equal."""


class Artifact:
    """A run's answers.

    Attributes:
        folder: Where it is.
        config: Its settings.
        task: Its task, with columns and labels.
        labels: Label names in the order of probabilities.
    """

    def __init__(self, finished: Finished, answers: Answers, predictor: LocalPredictor | EndpointPredictor | None):
        self.folder = finished.folder
        self.config = finished.config
        self.task = finished.task
        self.labels = finished.task.labels
        self._answers = answers
        self._predictor = predictor

    def predict(self, rows: Sequence[Record] | Sequence[Mapping[str, Any]]) -> list[Prediction]:
        """Answers in the order of the rows; the same rows give the same bytes.

        Args:
            rows: Records, or plain mappings with the columns the run reads.

        Raises:
            DataError: A column is missing.
        """
        records = [as_record(row, number) for number, row in enumerate(rows, start=1)]
        for record in records:
            self.require_columns(record)
        return self._answers.predict(records) if records else []

    def require_columns(self, record: Record) -> None:
        """Refuse a row without a column that the run reads.

        Raises:
            DataError: It is missing; the nearest one is named.
        """
        for column in self.task.reads:
            if column not in record.fields:
                match = nearest(column, record.fields)
                guess = f" Did you mean to rename {match!r}?" if match else ""
                raise DataError(
                    f"{record.source}: the run reads column {column!r}, which is not there.{guess}",
                    f"Columns there: {', '.join(record.fields)}.",
                )

    def evaluate(self, records: Sequence[Record]) -> dict[str, Any]:
        """Metrics with intervals on labelled rows.

        Raises:
            DataError: There are no rows, or a row has no label that the run knows.
        """
        if not records:
            raise DataError("there are no rows to score", "Give a file with at least one labelled row.")
        for record in records:
            if self.task.truth(record) is None:
                raise _without_truth(record, self.task)
        predictions = self.predict(records)
        rows = rows_of(self.task, records, predictions, self._answers)
        return json_metrics(test_metrics(self.task, records, predictions, rows))

    @property
    def spent(self) -> str:
        """What an endpoint was asked since the run was loaded, in a sentence; empty for models on this machine."""
        return self._predictor.client.spent if isinstance(self._predictor, EndpointPredictor) else ""

    def verify(self, all: bool = False) -> list[str]:
        """Replay golden rows: token ids must be equal, scores and answers as they were.

        Args:
            all: Every golden row instead of the first few.

        Returns:
            What differs, in sentences; empty when nothing does.
        """
        lines = (self.folder / "golden.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in (lines if all else lines[:GOLDEN_GROUP])]
        problems: list[str] = []
        for at in range(0, len(rows), GOLDEN_GROUP):
            group = rows[at : at + GOLDEN_GROUP]
            records = [Record(row["id"], row["fields"], "golden.jsonl") for row in group]
            for row, record, found in zip(group, records, self._again(group, records, all), strict=True):
                problems += self._differences(row, record, found)
        return problems

    def require_answers(self) -> None:
        """Replay the first golden rows.

        Raises:
            ArtifactError: One is answered otherwise than when the run was made.
        """
        problems = self.verify()
        if problems:
            raise ArtifactError(
                f"{self.folder} does not answer as it did when it was made: {problems[0]}", "See `rung doctor RUN`."
            )

    def _again(self, group: Sequence[Mapping[str, Any]], records: Sequence[Record], all: bool) -> list[Prediction]:
        """Golden rows answered once more; where answers are written, a quick look scores the stored ones.

        An endpoint may be away, and takes money: a quick look sends it nothing, a thorough one goes past the cache.
        """
        if isinstance(self._predictor, EndpointPredictor):
            if all:
                return self._predictor.predict(records, anew=True)
            return [Prediction(row["id"], row["prediction"]) for row in group]
        if isinstance(self._predictor, GeneratingPredictor) and not all:
            return self._predictor.replayed(records, [row["prediction"] for row in group])
        return (self._answers.golden or self._answers.predict)(records)

    def _differences(self, row: Mapping[str, Any], record: Record, found: Prediction) -> list[str]:
        if self._predictor is not None:
            prompt = self._predictor.task.prompt
            if self._predictor.request_ids(record, prompt) != row["input_ids"]:
                return [f"golden row {row['id']}: its token ids differ: the tokenizer or the template changed"]
        if not self.labels and found.label != row["prediction"]:
            return [f"golden row {row['id']}: it writes {_short(found.label)} and wrote {_short(row['prediction'])}"]
        if row["scores"] is None or found.scores is None:
            same = found.label == row["prediction"]
            return [] if same else [f"golden row {row['id']}: it answers {found.label} and said {row['prediction']}"]
        gap = max(abs(was - now) for was, now in zip(row["scores"], found.scores, strict=True))
        # Not `gap > _TOLERANCE`: NaN is a difference too.
        return [] if gap <= _TOLERANCE else [f"golden row {row['id']}: its scores differ by {gap:.4g}"]


def as_record(row: Record | Mapping[str, Any], number: int) -> Record:
    """A row as a record; a plain mapping is named by its place, which counts from 1."""
    return row if isinstance(row, Record) else Record(f"row-{number}", dict(row), f"row {number}")


def _without_truth(record: Record, task: Task) -> DataError:
    if not task.labels:
        return DataError(f"{record.source}: it has no completion to compare with", "Fill it in, or leave the row out.")
    return DataError(f"{record.source}: its label is not one the run knows", f"Labels: {', '.join(task.labels)}.")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


@memory_in_words()
def load(folder: str | Path) -> Artifact:
    """Load a finished run; its first golden rows are replayed.

    Args:
        folder: The run's folder.

    Raises:
        ArtifactError: It is unfinished or damaged, or its base model is not the one it was made with.
    """
    finished = read_finished(Path(folder))
    settle_machine(finished.run["execution"])
    method, task = finished.config.method, finished.task
    if isinstance(method, ControlMethod):
        arrays = {name: value.numpy() for name, value in tensors(finished.folder / "model.safetensors").items()}
        fitted = method.restore(json.loads((finished.folder / "control.json").read_text(encoding="utf-8")), arrays)
        artifact = Artifact(finished, Answers(ControlPredictor(task, fitted).predict, lambda _: ()), None)
    elif finished.run["base"]["kind"] == "endpoint":
        task.prompt = read_prompt(finished.folder / "prompt.json")
        endpoint = open_endpoint(finished.config, task, finished.run["base"])
        artifact = Artifact(finished, answers_of(endpoint, task.prompt), endpoint)
    else:
        predictor, _ = attached(finished, _opened(finished))
        artifact = Artifact(finished, answers_of(predictor, task.prompt), predictor)
    artifact.require_answers()
    return artifact


def _opened(finished: Finished) -> Opened:
    model = finished.config.model
    assert model is not None
    opened = open_model(model, finished.run["execution"])
    if facts_of(model).base_hash != finished.run["base"]["hash"]:
        raise ArtifactError(
            f"{finished.folder} was made on other weights of {model} than are there now",
            "Point `model` to the weights it was made with.",
        )
    return opened
