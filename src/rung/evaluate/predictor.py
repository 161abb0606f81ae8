"""Answers from a model on this machine, however it was adapted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from scipy.special import softmax

from rung.compute.scoring import TOKEN_BUDGET, Question
from rung.data.encoded import EncodedRows
from rung.errors import ConfigError
from rung.models.families import Family
from rung.objectives.base import Objective, Trained
from rung.objectives.union import worded
from rung.objectives.worded import Worded
from rung.tasks.base import Task
from rung.tasks.fitting import Fitted, fit_all
from rung.types import Prediction, Prompt, Record, Row

_ENCODED_AT_ONCE = 1_000


class Model(Trained, Protocol):
    """What a predictor asks of an adapted model (see `rung.methods.adapted.Adapted`)."""

    @property
    def family(self) -> Family:
        """The model's parts."""
        ...

    def evaluating(self) -> None:
        """Switch to evaluation."""
        ...

    def scores(self, questions: Sequence[Question]) -> list[np.ndarray]:
        """Per question the log-probability of each of its answers."""
        ...


class LocalPredictor:
    """Predicts records: by the output layer when the objective has one, else by scoring the answers.

    Batches are a pure function of the records asked together: the same records give the same bytes.

    Args:
        model: The adapted model, in evaluation mode.
        tokenizer: Its tokenizer.
        task: The task.
        objective: The objective it was trained with; None for an untrained model.
        max_length: Tokens a row may have.
    """

    def __init__(self, model: Model, tokenizer: Any, task: Task, objective: Objective | None, max_length: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.task = task
        self.objective = None if objective is None else objective.on(model.family)
        self.max_length = max_length
        self._answers: dict[tuple[str, bool], list[int]] = {}

    @cached_property
    def wording(self) -> Worded:
        """How the model is asked and answers, where it answers in words."""
        if isinstance(self.objective, Worded):
            return self.objective
        family = self.model.family
        return worded(family.kind).on(family)

    def predict(self, records: Sequence[Record], prompt: Prompt | None = None) -> list[Prediction]:
        """Predictions in the order of the records, under the task's prompt or another."""
        prompt = prompt or self.task.prompt
        if not records:
            return []
        self.model.evaluating()
        with torch.inference_mode():
            if self.objective is not None and self.objective.needs_head:
                return self._by_head(self.rows(records, prompt))
            return self.read(records, prompt, self.model.scores(self.questions(records, prompt)))

    def answer(self, choice: str, own_template: bool = True) -> list[int]:
        """A choice's token ids with the end of its turn, in the model's own chat template or in plain text."""
        key = (choice, own_template)
        if key not in self._answers:
            self._answers[key] = self.wording.answers(self.tokenizer, [choice], own_template)[0]
        return self._answers[key]

    def rows(self, records: Sequence[Record], prompt: Prompt) -> Sequence[Row]:
        """Records as the objective encodes them, cut to fit and saying how much was cut; kept in a file."""
        assert self.objective is not None
        if not self.objective.needs_head:
            self._require_distinct(prompt)
        found = EncodedRows()
        for start in range(0, len(records), _ENCODED_AT_ONCE):
            found.extend(self._encoded(records[start : start + _ENCODED_AT_ONCE], prompt, self.objective))
        return found

    def _encoded(self, records: Sequence[Record], prompt: Prompt, objective: Objective) -> list[Row]:
        if objective.needs_head:
            examples = [self.task.render(record, prompt) for record in records]
            return objective.encode_all(examples, self.tokenizer, self.max_length)
        fitted = self._fitted(records, prompt, self._room(prompt))
        rows = objective.encode_all([one.example for one in fitted], self.tokenizer, self.max_length)
        return [replace(row, truncated=row.truncated + one.cut) for row, one in zip(rows, fitted, strict=True)]

    def request_ids(self, record: Record, prompt: Prompt) -> list[int]:
        """The token ids a request for this record is made of, without any answer."""
        if self.objective is not None and self.objective.needs_head:
            return list(self.rows([record], prompt)[0].sequences[0].input_ids)
        return list(self._fitted([record], prompt, self._room(prompt))[0].ids)

    def count_tokens(self, record: Record, prompt: Prompt) -> int:
        """Tokens of a prompt, uncut, and the longest answer: what has to fit the context."""
        whole = self._fitted([record], prompt, 2**31)[0]
        return len(whole.ids) + self.max_length - self._room(prompt)

    def _room(self, prompt: Prompt) -> int:
        """Tokens that the longest answer leaves to the prompt."""
        longest = max(len(self.answer(choice, prompt.chat_template)) for choice in prompt.verbalizer.values())
        return self.wording.room(self.max_length, longest)

    def _fitted(self, records: Sequence[Record], prompt: Prompt, room: int) -> list[Fitted]:
        return fit_all(self.task, records, prompt, self.tokenizer, room, self.wording.prompts)

    def questions(self, records: Sequence[Record], prompt: Prompt, adapter: str = "") -> list[Question]:
        """Per record its prompt with the labels' answers, for the rows of a named adapter or for all."""
        self._require_distinct(prompt)
        answers = tuple(
            tuple(self.answer(prompt.verbalizer[label], prompt.chat_template)) for label in self.task.labels
        )
        fitted = self._fitted(records, prompt, self._room(prompt))
        return [Question(tuple(one.ids), answers, adapter) for one in fitted]

    def read(self, records: Sequence[Record], prompt: Prompt, raw: Sequence[np.ndarray]) -> list[Prediction]:
        """The scores `[C]` of each record's labels as predictions."""
        prior = np.zeros(len(self.task.labels)) if prompt.calibration is None else np.asarray(prompt.calibration)
        shares = softmax(np.stack(raw) - prior, axis=1)
        return [
            self.task.parse_scores(record.id, scores.tolist(), share.tolist())
            for record, scores, share in zip(records, raw, shares, strict=True)
        ]

    def _require_distinct(self, prompt: Prompt) -> None:
        """Labels whose answers are the same tokens could not be told apart."""
        taken: dict[tuple[int, ...], str] = {}
        for label in self.task.labels:
            ids = self.answer(prompt.verbalizer[label], prompt.chat_template)
            first = taken.setdefault(tuple(ids), label)
            if first != label:
                raise ConfigError(
                    f"labels {first!r} and {label!r} have answers that are the same tokens to this model: "
                    f"{prompt.verbalizer[first]!r} and {prompt.verbalizer[label]!r}",
                    "Give each its own in task.verbalizer.",
                )

    def _by_head(self, rows: Sequence[Row]) -> list[Prediction]:
        assert self.objective is not None
        predictions: dict[int, Prediction] = {}
        lengths = [sum(len(sequence) for sequence in row.sequences) for row in rows]
        for batch in by_budget(lengths):
            outputs = self.objective.outputs(self.model, [rows[at] for at in batch])
            for at, output in zip(batch, outputs, strict=True):
                predictions[at] = self.objective.decode(rows[at], output, self.task)
        return [predictions[at] for at in range(len(rows))]


def by_budget(lengths: Sequence[int]) -> list[list[int]]:
    """Rows in order of length, cut where their tokens reach the budget; at least one row each."""
    batches: list[list[int]] = []
    filled = 0
    for row in sorted(range(len(lengths)), key=lambda row: (lengths[row], row)):
        if not batches or filled + lengths[row] > TOKEN_BUDGET:
            batches.append([])
            filled = 0
        batches[-1].append(row)
        filled += lengths[row]
    return batches
