"""Evaluations of prompts on validation rows: each done once, kept in the journal, and counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from rung.methods.base import Scorer
from rung.methods.calibration import FILLERS, calibrated
from rung.methods.shots.selection import generator
from rung.methods.tuning import Tuning
from rung.tasks.base import Task
from rung.tasks.prompts import prompt_key
from rung.types import Prompt, Record

BLOCK = 16
"""Rows that are evaluated together, and the most that a kill can make a run evaluate again."""


@dataclass(slots=True)
class Spent:
    """What evaluations took.

    Attributes:
        evaluations: A prompt on a row.
        tokens: Read or written.
        seconds: Of computing, stops of the run left out.
    """

    evaluations: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def add(self, other: Spent) -> None:
        """Count another's on top."""
        self.evaluations += other.evaluations
        self.tokens += other.tokens
        self.seconds += other.seconds


@dataclass(frozen=True, slots=True)
class Limits:
    """Where to stop; None = nowhere. Evaluations and tokens are never exceeded, seconds by one block at most."""

    evaluations: int | None = None
    tokens: int | None = None
    seconds: float | None = None

    def allow(self, spent: Spent, evaluations: int, tokens: int) -> bool:
        """Whether so many more may be spent."""
        return (
            (self.evaluations is None or spent.evaluations + evaluations <= self.evaluations)
            and (self.tokens is None or spent.tokens + tokens <= self.tokens)
            and (self.seconds is None or spent.seconds < self.seconds)
        )


class SpentError(Exception):
    """The limits allow no further evaluation; never reaches the user."""


class Bench:
    """Evaluates prompts on the same rows, in the same order.

    Every beginning of the rows has about the label shares of the whole, so that prompts can be compared on a few rows
    first. What the journal holds is not computed again, and is counted as it was when it was.

    Args:
        scorer: Predicts under a prompt.
        task: The task.
        tuning: The rows, the judge, the journal.
        seed: Of the rows' order.
        most: Rows at most.
        limits: Where to stop.
    """

    def __init__(
        self, scorer: Scorer, task: Task, tuning: Tuning, seed: int, most: int, limits: Limits | None = None
    ) -> None:
        self.scorer = scorer
        self.task = task
        self.tuning = tuning
        self.limits = limits or Limits()
        self.records = nested(task, tuning.validation, seed)[:most]
        self.spent = Spent()
        self._known: dict[str, list[Any]] = {}

    def answers(self, prompt: Prompt, rows: int) -> list[Any]:
        """A prompt's answers to the first `rows` rows.

        Raises:
            SpentError: The limits don't allow them; what was evaluated before stays known.
        """
        key, found = prompt_key(prompt), []
        for start in range(0, rows, BLOCK):
            block = self.records[start : min(start + BLOCK, rows)]
            found += self._block(f"{key}/{start}+{len(block)}", prompt, block)
        return found

    def remembered(self, key: str, compute: Callable[[], tuple[list[Any], Spent]]) -> list[Any]:
        """What else costs tokens or time, done once: its price is known when it is done.

        Args:
            key: What it is known by.
            compute: Gives a JSON list and what it took, its seconds left out.

        Raises:
            SpentError: The limits allow nothing more.
        """
        return self._once(key, lambda: Spent(), compute)

    def calibrated(self, prompt: Prompt) -> Prompt:
        """A prompt with the log-prior it puts on each label; open answers have none.

        Raises:
            SpentError: The limits don't allow it.
        """
        if not self.task.labels:
            return prompt
        record = self.records[0]
        fillers = [self.task.content_free(record, filler) for filler in FILLERS]
        prior = self._once(
            f"{prompt_key(prompt)}/prior",
            lambda: self._price(prompt, fillers),
            lambda: (list(calibrated(self.scorer, self.task, prompt, record).calibration or ()), Spent()),
        )
        # A scorer that gives labels without probabilities has no prior to take off.
        return replace(prompt, calibration=tuple(prior) or None)

    def _block(self, key: str, prompt: Prompt, block: Sequence[Record]) -> list[Any]:
        return self._once(
            key,
            lambda: self._price(prompt, block),
            lambda: ([one.label for one in self.scorer.predict(block, prompt)], Spent()),
            [record.id for record in block],
        )

    def _price(self, prompt: Prompt, records: Sequence[Record]) -> Spent:
        return Spent(len(records), sum(self.scorer.count_tokens(record, prompt) for record in records))

    def _once(
        self,
        key: str,
        price: Callable[[], Spent],
        compute: Callable[[], tuple[list[Any], Spent]],
        rows: Sequence[str] = (),
    ) -> list[Any]:
        if key in self._known:
            return self._known[key]
        kept = self.tuning.journal.get(key)
        cost = price() if kept is None else Spent(kept["evaluations"], kept["tokens"], kept["seconds"])
        if not self.limits.allow(self.spent, cost.evaluations, cost.tokens):
            raise SpentError
        if kept is None:
            began = time.perf_counter()
            value, more = compute()
            cost.add(more)
            cost.seconds = time.perf_counter() - began
            kept = {"value": value, **asdict(cost), **({"rows": list(rows)} if rows else {})}
            self.tuning.journal.put(key, kept)
        self.spent.add(cost)
        self._known[key] = kept["value"]
        return kept["value"]


def nested(task: Task, records: Sequence[Record], seed: int) -> list[Record]:
    """Records in a seeded order of which every beginning has about the label shares of the whole."""
    order = generator(seed).permutation(len(records))
    labels = [str(task.truth(records[int(at)])) if task.labels else "" for at in order]
    totals = {label: labels.count(label) for label in set(labels)}
    seen: dict[str, int] = dict.fromkeys(totals, 0)
    places = np.empty(len(order))
    for number, label in enumerate(labels):
        seen[label] += 1
        places[number] = (seen[label] - 0.5) / totals[label]
    return [records[int(order[number])] for number in np.argsort(places, kind="stable")]
