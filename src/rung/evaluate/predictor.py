"""Answers from a model on this machine, however it was adapted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from scipy.special import softmax
from torch import nn

from rung.models.fitting import fit_prompt
from rung.models.tokenizer import end_of_turn_id
from rung.objectives.base import Objective
from rung.tasks.base import Task
from rung.types import IGNORED, Example, Prediction, Prompt, Record, Row, Tokens

TOKEN_BUDGET = 4096
"""Tokens of a forward pass, shared beginnings counted once; at least one row."""


class Model(Protocol):
    """What a predictor asks of an adapted model (see `rung.methods.base.Adapted`)."""

    head: nn.Module | None

    def logprobs(self, sequences: Sequence[Tokens]) -> torch.Tensor:
        """`[P]` log-probabilities of the labels."""
        ...

    def outputs(self, sequences: Sequence[Tokens], pooling: str) -> torch.Tensor:
        """`[sequences, outputs]` of the output layer."""
        ...

    def root(self) -> AbstractContextManager[None]:
        """Within: the pretrained model."""
        ...


class LocalPredictor:
    """Predicts records: by the output layer when the objective has one, else by scoring the answers.

    Batches are a pure function of the records asked together: the same records give the same bytes.

    Args:
        model: The adapted model, in evaluation mode.
        tokenizer: Its tokenizer.
        task: The task.
        objective: The objective it was trained with; None for an untrained decoder.
        max_length: Tokens a row may have.
    """

    def __init__(self, model: Model, tokenizer: Any, task: Task, objective: Objective | None, max_length: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.task = task
        self.objective = objective
        self.max_length = max_length
        self._answers: dict[str, list[int]] = {}

    def predict(self, records: Sequence[Record], prompt: Prompt | None = None) -> list[Prediction]:
        """Predictions in the order of the records, under the task's prompt or another."""
        prompt = prompt or self.task.prompt
        examples = [self.task.render(record, prompt) for record in records]
        with torch.inference_mode():
            if self.objective is not None and self.objective.needs_head:
                return self._by_head(examples)
            return self._by_score(examples, prompt)

    def score(self, examples: Sequence[Example]) -> np.ndarray:
        """`[N, C]` log-probability of each choice and the end of its turn, summed over its tokens."""
        answers = [self.answer(choice) for choice in examples[0].choices]
        longest = max(len(answer) for answer in answers)
        prompts = [self.prompt_ids(example, longest) for example in examples]
        scores = np.empty((len(examples), len(answers)), dtype=np.float64)
        for batch in _by_budget(prompts, sum(len(answer) for answer in answers)):
            sequences = [_continued(prompts[row], answer) for row in batch for answer in answers]
            logs = self.model.logprobs(sequences).double()
            sums = torch.stack([part.sum() for part in logs.split([len(answer) for answer in answers] * len(batch))])
            scores[batch] = sums.view(len(batch), len(answers)).cpu().numpy()
        return scores

    def answer(self, choice: str) -> list[int]:
        """A choice's token ids with the end of its turn."""
        if choice not in self._answers:
            ids = self.tokenizer.encode(choice, add_special_tokens=False)
            self._answers[choice] = [*ids, end_of_turn_id(self.tokenizer)]
        return self._answers[choice]

    def prompt_ids(self, example: Example, room: int) -> list[int]:
        """A prompt's token ids, its text cut where `room` tokens for an answer would not fit."""
        return fit_prompt(self.tokenizer, example.messages, self.max_length - room)[0]

    def count_tokens(self, record: Record, prompt: Prompt) -> int:
        """Tokens of a prompt, uncut, and the longest answer: what has to fit the context."""
        example = self.task.render(record, prompt)
        ids = fit_prompt(self.tokenizer, example.messages, 2**31)[0]
        return len(ids) + max(len(self.answer(choice)) for choice in example.choices)

    def request_ids(self, record: Record, prompt: Prompt) -> list[int]:
        """The token ids a request for this record is made of, without any answer."""
        example = self.task.render(record, prompt)
        if self.objective is not None and self.objective.needs_head:
            return list(self.rows([example])[0].sequences[0].input_ids)
        return self.prompt_ids(example, max(len(self.answer(choice)) for choice in example.choices))

    def rows(self, examples: Sequence[Example]) -> list[Row]:
        """Examples as the objective encodes them."""
        assert self.objective is not None
        return [self.objective.encode(example, self.tokenizer, self.max_length) for example in examples]

    def _by_score(self, examples: Sequence[Example], prompt: Prompt) -> list[Prediction]:
        raw = self.score(examples)
        prior = np.zeros(raw.shape[1]) if prompt.calibration is None else np.asarray(prompt.calibration)
        shares = softmax(raw - prior, axis=1)
        return [
            self.task.parse_scores(example.id, scores.tolist(), share.tolist())
            for example, scores, share in zip(examples, raw, shares, strict=True)
        ]

    def _by_head(self, examples: Sequence[Example]) -> list[Prediction]:
        assert self.objective is not None
        rows = self.rows(examples)
        predictions: dict[int, Prediction] = {}
        pooling = getattr(self.objective, "pooling", "mean")
        for batch in _by_budget([row.sequences[0].input_ids for row in rows], 0):
            outputs = self.model.outputs([rows[at].sequences[0] for at in batch], pooling)
            for at, output in zip(batch, outputs, strict=True):
                predictions[at] = self.objective.decode(rows[at], output, self.task)
        return [predictions[at] for at in range(len(rows))]


def _continued(prompt: Sequence[int], answer: Sequence[int]) -> Tokens:
    return Tokens(tuple(prompt) + tuple(answer), (IGNORED,) * len(prompt) + tuple(answer))


def _by_budget(prompts: Sequence[Sequence[int]], answer_tokens: int) -> list[list[int]]:
    """Rows in order of length, cut where their own tokens reach the budget.

    A beginning shared by all is computed once a batch: the longer it is, the larger the batches.
    """
    shared = _shared(prompts)
    budget = max(TOKEN_BUDGET, 4 * shared)
    batches: list[list[int]] = []
    filled = budget
    for row in sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), row)):
        own = len(prompts[row]) - shared + answer_tokens
        if filled + own > budget:
            batches.append([])
            filled = 0
        batches[-1].append(row)
        filled += own
    return batches


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that all prompts begin with."""
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))
    length = min(len(first), len(last))
    return next((at for at in range(length) if first[at] != last[at]), length)
