"""A finished run as a thing to use: load it, ask it, check it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from rung.endpoints.predictor import EndpointPredictor
from rung.engine import fsio
from rung.errors import ArtifactError, DataError, nearest
from rung.evaluate.generating import GeneratingPredictor, predictor_for
from rung.evaluate.predictor import LocalPredictor
from rung.methods.base import WeightMethod
from rung.methods.control import ControlMethod
from rung.run.config import RunConfig, objective_for
from rung.run.controls import ControlPredictor
from rung.run.endpoint import open_endpoint, spent
from rung.run.memory import memory_in_words
from rung.run.prepare import adapt, settle_machine
from rung.run.record import FORMAT, read_prompt
from rung.run.score import GOLDEN_GROUP, Answers, answers_of, json_metrics, rows_of, test_metrics
from rung.run.start import facts_of, open_model
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

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        task: Task,
        answers: Answers,
        predictor: LocalPredictor | EndpointPredictor | None,
    ):
        self.folder = folder
        self.config = config
        self.task = task
        self.labels = task.labels
        self._answers = answers
        self._predictor = predictor

    def predict(self, rows: Sequence[Record] | Sequence[Mapping[str, Any]]) -> list[Prediction]:
        """Answers in the order of the rows; the same rows give the same bytes.

        Args:
            rows: Records, or plain mappings with the columns the run reads.

        Raises:
            DataError: A column is missing.
        """
        records = [
            row if isinstance(row, Record) else Record(f"row-{number}", dict(row), f"row {number}")
            for number, row in enumerate(rows, start=1)
        ]
        for record in records:
            self._require_columns(record)
        return self._answers.predict(records) if records else []

    def _require_columns(self, record: Record) -> None:
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
        return spent(self._predictor) if isinstance(self._predictor, EndpointPredictor) else ""

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
    folder = Path(folder)
    run = _run_file(folder)
    config = RunConfig.model_validate(run["resolved"])
    columns = run["data"]["columns"]
    task = config.task.resolve(
        columns["text"],
        columns["text_pair"],
        columns["label"],
        run["data"]["labels"],
        tuple(run["data"]["all_columns"]),
    )
    _require_unchanged(folder, run)
    settle_machine(run["execution"])
    method = config.method
    if isinstance(method, ControlMethod):
        arrays = {name: value.numpy() for name, value in _tensors(folder / "model.safetensors").items()}
        fitted = method.restore(json.loads((folder / "control.json").read_text(encoding="utf-8")), arrays)
        artifact = Artifact(folder, config, task, Answers(ControlPredictor(task, fitted).predict, lambda _: ()), None)
    else:
        predictor = _predictor(folder, run, config, task)
        artifact = Artifact(folder, config, task, answers_of(predictor, task.prompt), predictor)
    problems = artifact.verify()
    if problems:
        raise ArtifactError(
            f"{folder} does not answer as it did when it was made: {problems[0]}", "See `rung doctor RUN`."
        )
    return artifact


def _run_file(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    if not path.exists():
        held = (
            "an unfinished run: the command that began it goes on with it" if (folder / "checkpoints").exists() else ""
        )
        raise ArtifactError(f"{folder} holds no finished run (no run.json)", held or "Give the output_dir of a run.")
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: {error}", "Run again with --fresh.") from error
    if run.get("format") != FORMAT:
        raise ArtifactError(
            f"{path}: format={run.get('format')!r}, this release reads {FORMAT}", "Use a matching release."
        )
    return run


def _require_unchanged(folder: Path, run: Mapping[str, Any]) -> None:
    """A flipped bit may change answers by less than the golden rows can show."""
    for name, was in run["files"].items():
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder / name} is missing", "Copy the run's folder whole, or run again.")
        if fsio.sha256_file(folder / name) != was:
            raise ArtifactError(
                f"{folder / name} was changed or damaged since the run was finished", "Run again with --fresh."
            )


def _predictor(
    folder: Path, run: Mapping[str, Any], config: RunConfig, task: Task
) -> LocalPredictor | EndpointPredictor:
    assert config.model is not None
    task.prompt = read_prompt(folder / "prompt.json")
    if run["base"]["kind"] == "endpoint":
        return open_endpoint(config, task, run["base"])
    opened = open_model(config.model, run["execution"])
    if facts_of(config.model).base_hash != run["base"]["hash"]:
        raise ArtifactError(
            f"{folder} was made on other weights of {config.model} than are there now",
            "Point `model` to the weights it was made with.",
        )
    method = config.method if isinstance(config.method, WeightMethod) else None
    objective = objective_for(config, opened.loaded.facts.kind)
    adapted = adapt(method, opened, task, objective, config.training.seed)
    path = folder / adapted.weights_file
    try:
        if adapted.own:
            adapted.load(_tensors(path))
        if adapted.head is not None:
            adapted.head.load_state_dict(_tensors(folder / "head.safetensors"))
    except (KeyError, RuntimeError) as error:
        raise ArtifactError(f"{path} does not fit {config.model}: {error}", "Train it again.") from error
    adapted.evaluating()
    return predictor_for(adapted, opened.loaded.tokenizer, task, objective, int(run["execution"]["max_length"]))


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"{path} can't be read: {error}", "The artifact is damaged: run again with --fresh."
        ) from error
