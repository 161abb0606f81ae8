"""Answers from an endpoint, to whatever prompt: labels scored or read, or texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from rung.endpoints import ways
from rung.endpoints.client import Client, Reply, Request
from rung.endpoints.reading import Reader, echoed, positions_of, text_of
from rung.endpoints.ways import Way
from rung.errors import ConfigError, EndpointError, IncompatibleError
from rung.evaluate.generating import Written
from rung.tasks.base import Task
from rung.tasks.generation import Generation
from rung.types import Message, Prediction, Prompt, Record

_ROOM_TO_TALK = 24
"""Tokens that a written label may take beside its own: "The label is ..."."""
_OF_A_TURN = 4
"""Tokens that a chat template puts around a turn, about."""


@dataclass(frozen=True, slots=True)
class Used:
    """What answering one record took, when it was asked.

    Attributes:
        seconds: Of all its requests.
        input: Tokens read; None where the server does not say.
        output: Tokens written; None where the server does not say.
        requests: How many there were.
    """

    seconds: float
    input: int | None
    output: int | None
    requests: int


class EndpointPredictor:
    """Predicts records by asking an endpoint.

    Args:
        client: The endpoint.
        task: The task.
        max_length: Tokens that a prompt method may reckon with; the server has its own limit.
        way: How it is asked; None finds out with the first record.
        say: Told which way was found, and why.
    """

    def __init__(
        self,
        client: Client,
        task: Task,
        max_length: int,
        way: Way | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.client = client
        self.task = task
        self.way = way
        self.used: dict[str, Used] = {}
        self.answered_by: set[str] = set()
        self._max_length = max_length
        self._say = say

    @property
    def max_length(self) -> int:
        """Tokens that a prompt method may reckon with."""
        return self._max_length

    def predict(self, records: Sequence[Record], prompt: Prompt | None = None, anew: bool = False) -> list[Prediction]:
        """Predictions in the order of the records, under the task's prompt or another.

        Args:
            records: The records.
            prompt: How they are asked; None = as the task has it.
            anew: Whether the server is asked even where the cache has the answer.

        Raises:
            EndpointError: The endpoint gives no answer.
            ConfigError: Two labels have the same answer.
        """
        prompt = prompt or self.task.prompt
        if not records:
            return []
        reader = None if isinstance(self.task, Generation) else Reader(self._answers(prompt))
        if self.way is None:
            self._find_way(records[0], prompt, reader)
        parts = [self._requests(record, prompt, reader) for record in records]
        replies = iter(self.client.ask_all([one for part in parts for one in part], anew))
        found = []
        for record, part in zip(records, parts, strict=True):
            own = [next(replies) for _ in part]
            self._count(record, own)
            found.append(self._written(record, own[0]) if reader is None else self._read(record, own, reader, prompt))
        return found

    def request_ids(self, record: Record, prompt: Prompt) -> list[int]:
        """A digest of what is asked, in place of token ids, which the server alone knows: equal for equal requests."""
        turns = [[one.role, one.content] for one in self._turns(record, prompt)]
        return list(hashlib.sha256(json.dumps([turns, dict(prompt.verbalizer)]).encode()).digest())

    def count_tokens(self, record: Record, prompt: Prompt) -> int:
        """About how many tokens a prompt and the longest answer have: an estimate from the bytes."""
        turns = self._turns(record, prompt)
        texts = sum(ways.estimated_tokens(one.content) + _OF_A_TURN for one in turns)
        return texts + self._longest(prompt)

    def _turns(self, record: Record, prompt: Prompt) -> tuple[Message, ...]:
        """The turns that are sent.

        Raises:
            IncompatibleError: The row asks for more than an answer to texts.
        """
        example = self.task.render(record, prompt)
        has_tools = bool(example.tools) or any(one.more for one in example.messages)
        if has_tools or not example.messages:
            raise IncompatibleError(
                f"{record.source}: {'tools are' if has_tools else 'a text alone is'} not sent to an endpoint",
                "Use a model on this machine, or leave these rows out.",
            )
        return example.messages

    def _longest(self, prompt: Prompt) -> int:
        if isinstance(self.task, Generation):
            return self.task.max_new_tokens
        return max(ways.estimated_tokens(answer) for answer in prompt.verbalizer.values())

    def _answers(self, prompt: Prompt) -> list[str]:
        """The labels' answers; those that differ in spaces alone can't be told apart."""
        taken: dict[str, str] = {}
        for label in self.task.labels:
            first = taken.setdefault(prompt.verbalizer[label].strip(), label)
            if first != label:
                raise ConfigError(
                    f"labels {first!r} and {label!r} have answers that an endpoint can't tell apart: "
                    f"{prompt.verbalizer[first]!r} and {prompt.verbalizer[label]!r}",
                    "Give each its own in task.verbalizer.",
                )
        return list(taken)

    def _find_way(self, record: Record, prompt: Prompt, reader: Reader | None) -> None:
        def request(way: Way) -> Request:
            self.way = way
            return self._requests(record, prompt, reader)[0]

        try:
            self.way = ways.find(self.client, reader is None, request)
        except BaseException:
            self.way = None
            raise
        if self.client.transport.shows_key:
            self._say(f"The key in {self.client.settings.api_key_env} goes unencrypted to {self.client.reference.url}.")
        self._say(f"{self.client.reference}: {self.way.sentence(len(self.task.labels))}.")

    def _requests(self, record: Record, prompt: Prompt, reader: Reader | None) -> list[Request]:
        """What is asked about a record."""
        assert self.way is not None
        model, turns = self.client.reference.model, self._turns(record, prompt)
        if self.way.reads == "echo":
            answers = [prompt.verbalizer[label] for label in self.task.labels]
            return [ways.score_of(model, turns, answer, record.source) for answer in answers]
        if isinstance(self.task, Generation):
            tokens = self.task.max_new_tokens
        else:
            assert reader is not None
            tokens = reader.steps if self.way.reads == "top" else self._longest(prompt) + _ROOM_TO_TALK
        return [ways.ask_for(self.way, model, turns, tokens, record.source)]

    def _written(self, record: Record, reply: Reply) -> Prediction:
        return Written(record.id, text_of(reply.choice).strip(), finished=reply.choice.get("finish_reason") != "length")

    def _read(self, record: Record, replies: Sequence[Reply], reader: Reader, prompt: Prompt) -> Prediction:
        """A label from the answers about a record; one that names no label is no answer, and counts as wrong."""
        assert self.way is not None
        if self.way.reads == "written":
            label = reader.label(text_of(replies[0].choice))
            return Prediction(record.id, None if label is None else self.task.labels[label])
        if self.way.reads == "echo":
            whole = [echoed(one.choice) for one in replies]
            logs = [one for one in whole if one is not None]
            if len(logs) < len(whole):
                raise self._without_logs(record)
        else:
            positions = positions_of(replies[0].choice)
            if positions is None:
                raise self._without_logs(record)
            found = reader.logs(positions) if positions else None
            if found is None:
                even = (1 / len(self.task.labels),) * len(self.task.labels)
                return Prediction(record.id, None, even, tuple(np.log(even).tolist()))
            logs = found
        prior = np.zeros(len(logs)) if prompt.calibration is None else np.asarray(prompt.calibration)
        shares = softmax(np.asarray(logs) - prior)
        return self.task.parse_scores(record.id, logs, shares.tolist())

    def _without_logs(self, record: Record) -> EndpointError:
        return EndpointError(
            f"{self.client.reference} gave log-probabilities at first, and none for {record.source}",
            "Set endpoint.logprobs=never.",
        )

    def _count(self, record: Record, replies: Sequence[Reply]) -> None:
        read, written = [one.input for one in replies], [one.output for one in replies]
        self.answered_by |= {one.model for one in replies if one.model}
        self.used[record.id] = Used(sum(one.seconds for one in replies), _sum(read), _sum(written), len(replies))

    def requests(self, records: Sequence[Record]) -> Mapping[str, Any]:
        """What answering took, for `cost.json`: medians and means over records that were predicted, and the ledger."""
        used = [self.used[record.id] for record in records]
        read, written = _mean([one.input for one in used]), _mean([one.output for one in used])
        prices = self.client.settings.prices
        money = prices.of(read, written) if prices and read is not None and written is not None else None
        return {
            "seconds_per_request": float(np.median([one.seconds for one in used])),
            "tokens_per_request": read,
            "ledger": {
                **self.client.spending.as_dict(prices),
                "requests_per_row": _mean([one.requests for one in used]),
                "input_tokens_per_row": read,
                "output_tokens_per_row": written,
                "money_per_row": money,
            },
        }


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _mean(values: Sequence[int | None]) -> float | None:
    total = _sum(values)
    return None if total is None else total / len(values)
