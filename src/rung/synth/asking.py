"""Asking a model in batches: each answer on the disk before it is counted, nothing asked twice, within a budget."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from rung.endpoints.settings import Prices
from rung.synth.settings import Budget, Style


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    Attributes:
        text: What is asked, or the text to write on.
        seed: Of the tokens drawn.
        temperature: 0 takes the likeliest tokens.
        max_new_tokens: Of the answer.
        stops: Texts at which an answer ends, where the style is a continuation.
        about: The row it is about, for errors.
    """

    text: str
    seed: int
    temperature: float
    max_new_tokens: int
    stops: tuple[str, ...] = ()
    about: str = "an instruction to be written"

    @property
    def digest(self) -> str:
        """A short name of the prompt's text."""
        return hashlib.sha256(self.text.encode("utf-8", errors="replace")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote.

    Attributes:
        text: Without what stopped it.
        finished: Whether it ended by itself or at a stop; False where the limit cut it.
        read: Tokens of the prompt.
        written: Tokens of the answer.
    """

    text: str
    finished: bool
    read: int
    written: int


class Model(Protocol):
    """A model that answers; see `rung.synth.local` and `rung.synth.remote`."""

    @property
    def style(self) -> Style:
        """How it is asked."""
        ...

    def bounds(self, asks: Sequence[Ask]) -> tuple[int, int]:
        """Most tokens that answering may read, and may write."""
        ...

    def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        """One answer per request, in their order."""
        ...


class Journal(Protocol):
    """Where answers are kept; see `rung.run.journal`."""

    def get(self, key: str) -> Any:
        """What was put under a key, or None."""
        ...

    def put(self, key: str, value: Any) -> None:
        """Keep a value: it is on the disk when this returns."""
        ...


@dataclass(slots=True)
class Used:
    """What the answers took, those of earlier starts included."""

    requests: int = 0
    read: int = 0
    written: int = 0
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.read + self.written


class SpentError(Exception):
    """The budget allows no further batch; its text names the limit. Never reaches the user."""


class Desk:
    """Has batches of requests answered, once and for all.

    Args:
        model: Who answers.
        journal: Keeps each batch's answers.
        budget: Where to stop.
        prices: What tokens cost, where money is limited.
    """

    def __init__(self, model: Model, journal: Journal, budget: Budget, prices: Prices | None) -> None:
        self.model = model
        self.used = Used()
        self._journal = journal
        self._budget = budget
        self._prices = prices

    @property
    def money(self) -> float | None:
        """What the answers cost by the prices; None without prices."""
        return None if self._prices is None else self._prices.of(self.used.read, self.used.written)

    def answers(self, asks: Sequence[Ask]) -> list[Answer]:
        """Answers in the order of the requests.

        Raises:
            SpentError: They might pass a limit; none was asked.
        """
        if not asks:
            return []
        body = json.dumps([asdict(ask) for ask in asks], sort_keys=True)
        key = hashlib.sha256(body.encode()).hexdigest()[:32]
        kept = self._journal.get(key)
        if kept is None:
            self._require(asks)
            began = time.perf_counter()
            found = self.model.answer(asks)
            kept = {"answers": [asdict(one) for one in found], "seconds": time.perf_counter() - began}
            self._journal.put(key, kept)
        found = [Answer(**one) for one in kept["answers"]]
        self.used.requests += len(found)
        self.used.read += sum(one.read for one in found)
        self.used.written += sum(one.written for one in found)
        self.used.seconds += kept["seconds"]
        return found

    def _require(self, asks: Sequence[Ask]) -> None:
        budget, used = self._budget, self.used
        if budget.requests is not None and used.requests + len(asks) > budget.requests:
            raise SpentError(f"budget.requests={budget.requests}")
        if budget.seconds is not None and used.seconds >= budget.seconds:
            raise SpentError(f"budget.seconds={budget.seconds:g}")
        if budget.tokens is None and budget.money is None:
            return
        read, written = self.model.bounds(asks)
        if budget.tokens is not None and used.tokens + read + written > budget.tokens:
            raise SpentError(f"budget.tokens={budget.tokens}")
        if budget.money is not None and self._prices is not None:
            most = self._prices.of(used.read + read, used.written + written)
            if most > budget.money:
                raise SpentError(f"budget.money={budget.money:g}")
