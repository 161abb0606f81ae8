"""What a prompt method is given to compare prompts with, besides the training rows.

It is passed in, since methods are blind to evaluation and to the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rung.types import Message, Prompt, Record


class Journal(Protocol):
    """Remembers what was computed; the run's own outlives a crash, so that nothing is computed twice."""

    def get(self, key: str) -> Any:
        """What was put under a key, or None."""
        ...

    def put(self, key: str, value: Any) -> None:
        """Keep a JSON value for good."""
        ...


class Memory:
    """A journal that lasts as long as its process."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """What was put under a key, or None."""
        return self.kept.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keep a value."""
        self.kept[key] = value


@dataclass(frozen=True, slots=True)
class Ranking:
    """Prompts that answered the same rows, compared in the task's main metric; more is better.

    Attributes:
        scores: `[K]` each one's score.
        ceilings: `[K]` upper bounds of each one's difference to the best score; they hold together. Below 0: it is
            shown to be worse.
    """

    scores: tuple[float, ...]
    ceilings: tuple[float, ...]


class Judge(Protocol):
    """Says how good answers are, and how sure one may be of it."""

    def rank(self, records: Sequence[Record], answers: Sequence[Sequence[Any]], level: float) -> Ranking:
        """Compare `K` lists of answers to the same records; the bounds hold together with chance `level`."""
        ...

    def interval(self, records: Sequence[Record], answers: Sequence[Any]) -> tuple[float, float, float]:
        """The score of one list of answers, with the ends of its 95 % interval."""
        ...


class Writer(Protocol):
    """A model that writes."""

    def write(self, chats: Sequence[Sequence[Message]], max_new_tokens: int) -> list[str]:
        """One answer per conversation."""
        ...

    def written_tokens(self, chats: Sequence[Sequence[Message]], texts: Sequence[str]) -> int:
        """Tokens read and written for these answers."""
        ...


class Flips(Protocol):
    """First-order guesses which tokens of an instruction to change; local models alone can make them."""

    def flips(self, records: Sequence[Record], prompt: Prompt, count: int) -> list[str]:
        """Up to `count` instructions, one token changed in each, the most promising first."""
        ...


def _silent(_: str) -> None:
    return None


@dataclass(slots=True)
class Tuning:
    """What a method compares prompts with, and where it says what came of it.

    Attributes:
        validation: The rows that prompts are compared on; test rows are out of reach.
        judge: Compares answers.
        journal: Remembers evaluations.
        writer: A model that writes, by reference; None = the prompted model itself.
        flips: Token changes by gradient, or None where there is no gradient.
        say: Told in sentences what is going on.
        found: What the method reports; becomes `search.json`.
    """

    validation: Sequence[Record]
    judge: Judge
    journal: Journal = field(default_factory=Memory)
    writer: Callable[[str | None], Writer] | None = None
    flips: Flips | None = None
    say: Callable[[str], None] = _silent
    found: dict[str, Any] = field(default_factory=dict)
