"""Written answers from a model on this machine, and how likely it finds the right ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from rung.compute.decode import continued
from rung.compute.states import Additions
from rung.evaluate.predictor import LocalPredictor, Model
from rung.objectives.base import Objective
from rung.objectives.union import worded
from rung.tasks.base import Task
from rung.tasks.generation import Generation
from rung.types import IGNORED, Prediction, Prompt, Record, Row, Tokens

SCORED_TOKENS = 4096
"""Tokens of a forward pass that scores given texts; at least one row."""

GOLDEN_TOKENS = 32
"""Tokens that a golden row's answer has at most: they prove a model as well as a long answer does."""


class Writer(Model, Protocol):
    """What writing asks of an adapted model (see `rung.methods.adapted.Adapted`)."""

    @property
    def additions(self) -> Additions:
        """What the method adds to a forward pass."""
        ...


@dataclass(frozen=True, slots=True)
class Written(Prediction):
    """A written answer.

    Attributes:
        finished: Whether it ended by itself; False where the limit of new tokens cut it.
        tokens: Tokens it has, without the one that ended it; None where the model does not say.
    """

    finished: bool = True
    tokens: int | None = None

    @property
    def finish_reason(self) -> str:
        """Why it ended, as APIs name it: `stop` or `length`."""
        return "stop" if self.finished else "length"


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """How likely the right texts are.

    Attributes:
        sums: `[N]` negative log-likelihood of each row's supervised tokens, in nats.
        counts: `[N]` how many they are.
        cut: Rows that were too long and lost their end.
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.float64]
    cut: int

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood of a supervised token."""
        return float(self.sums.sum() / self.counts.sum())


class GeneratingPredictor(LocalPredictor):
    """Predicts by writing: greedily, many rows at once, each to the end of its turn.

    A decoder's prompt gets what `max_new_tokens` leaves of `max_length`, in training as here: the same record has the
    same prompt tokens everywhere.

    Args:
        model: The adapted model, a decoder or an encoder-decoder in evaluation mode.
        tokenizer: Its tokenizer.
        task: The task.
        objective: The objective it was trained with; None for an untrained model.
        max_length: Tokens a row may have.

    Raises:
        ConfigError: The answer leaves no room for a prompt.
    """

    def __init__(
        self, model: Writer, tokenizer: Any, task: Generation, objective: Objective | None, max_length: int
    ) -> None:
        super().__init__(model, tokenizer, task, objective or worded(model.family.kind), max_length)
        self.wording.require_room(task.max_new_tokens, max_length)
        self._limit = task.max_new_tokens

    def predict(self, records: Sequence[Record], prompt: Prompt | None = None) -> list[Prediction]:
        """Written answers in the order of the records, under the task's prompt or another."""
        return list(self._write(records, prompt or self.task.prompt, self._limit))

    def golden(self, records: Sequence[Record], prompt: Prompt | None = None) -> list[Prediction]:
        """Short answers, each with the mean log-probability of its own text as its score."""
        prompt = prompt or self.task.prompt
        written = self._write(records, prompt, min(GOLDEN_TOKENS, self._limit))
        return self.replayed(records, [str(one.label) for one in written], prompt)

    def replayed(
        self, records: Sequence[Record], texts: Sequence[str], prompt: Prompt | None = None
    ) -> list[Prediction]:
        """Given answers with the mean log-probability this model finds for them."""
        prompt = prompt or self.task.prompt
        answers = self.wording.answers(self.tokenizer, texts, prompt.chat_template)
        rows = [
            Row(record.id, (self.wording.sequence(self.request_ids(record, prompt), answer, self.max_length),))
            for record, answer in zip(records, answers, strict=True)
        ]
        found = self._likelihoods(rows)
        means = -found.sums / found.counts
        return [
            Prediction(record.id, text, scores=(float(mean),))
            for record, text, mean in zip(records, texts, means, strict=True)
        ]

    def likelihoods(self, records: Sequence[Record], prompt: Prompt | None = None) -> Likelihoods:
        """How likely the records' own completions are, their end of turn included."""
        return self._likelihoods(self.rows(records, prompt or self.task.prompt))

    def _room(self, prompt: Prompt) -> int:
        return self.wording.room(self.max_length, self._limit)

    def _write(self, records: Sequence[Record], prompt: Prompt, limit: int) -> list[Written]:
        if not records:
            return []
        self.model.evaluating()
        model = cast("Writer", self.model)
        prompts = [self.request_ids(record, prompt) for record in records]
        stop = self.wording.end(self.tokenizer, prompt.chat_template)
        with torch.inference_mode():
            found = continued(model.family, prompts, stop, limit, model.additions)
        texts = [self.wording.text(self.tokenizer, one.ids, prompt.chat_template) for one in found]
        return [
            Written(record.id, text, finished=one.stopped, tokens=len(one.ids))
            for record, text, one in zip(records, texts, found, strict=True)
        ]

    def _likelihoods(self, rows: Sequence[Row]) -> Likelihoods:
        self.model.evaluating()
        sequences = [one for row in rows for one in row.sequences]
        counts = [sum(label != IGNORED for label in one.labels or ()) for one in sequences]
        sums = np.empty(len(sequences), dtype=np.float64)
        with torch.inference_mode():
            for batch in _batches(sequences):
                logs = self.model.logprobs([sequences[row] for row in batch]).double()
                sums[batch] = [-float(part.sum()) for part in logs.split([counts[row] for row in batch])]
        starts = np.cumsum([0, *(len(row.sequences) for row in rows)])[:-1]
        of_rows = [np.add.reduceat(one, starts) for one in (sums, np.asarray(counts, dtype=np.float64))]
        return Likelihoods(of_rows[0], of_rows[1], sum(row.truncated > 0 for row in rows))


def predictor_for(
    model: Writer, tokenizer: Any, task: Task, objective: Objective | None, max_length: int
) -> LocalPredictor:
    """The predictor of a task: one that writes where answers are written, else one that chooses among labels."""
    if isinstance(task, Generation):
        return GeneratingPredictor(model, tokenizer, task, objective, max_length)
    return LocalPredictor(model, tokenizer, task, objective, max_length)


def _batches(sequences: Sequence[Tokens]) -> list[list[int]]:
    """Rows in order of length, cut where their tokens reach the budget."""
    batches: list[list[int]] = []
    filled = 0
    for row in sorted(range(len(sequences)), key=lambda row: (sequences[row].size, row)):
        if not batches or filled + sequences[row].size > SCORED_TOKENS:
            batches.append([])
            filled = 0
        batches[-1].append(row)
        filled += sequences[row].size
    return batches
