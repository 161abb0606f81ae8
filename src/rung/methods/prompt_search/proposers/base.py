"""What every proposer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rung.config.base import Config
from rung.methods.bench import Bench
from rung.methods.prompt_search.candidates import Candidate
from rung.methods.prompt_search.race import Runner
from rung.tasks.base import Task
from rung.types import Prompt, Record


@dataclass(frozen=True, slots=True)
class Scene:
    """What a proposer sees.

    Attributes:
        bench: Evaluates, remembers, and holds the task and what else there is to ask.
        train: Rows to draw examples from.
        own: The candidates the search began with.
        beam: The best prompts now, best first.
        history: Prompts with their scores on all rows, worst first.
        max_shots: Examples a prompt may show.
        room: Tokens a prompt may take without its text.
        chance: Random choices, seeded by the round.
    """

    bench: Bench
    train: Sequence[Record]
    own: Sequence[Candidate]
    beam: Sequence[Runner]
    history: Sequence[tuple[float, Prompt]]
    max_shots: int
    room: int
    chance: np.random.Generator

    @property
    def task(self) -> Task:
        """The task."""
        return self.bench.task

    def fits(self, prompt: Prompt) -> bool:
        """Whether a prompt leaves enough of the context to the text."""
        bare = self.task.content_free(self.train[0], "")
        return self.bench.scorer.count_tokens(bare, prompt) <= self.room

    def parent(self) -> Runner:
        """One of the best prompts."""
        return self.beam[int(self.chance.integers(len(self.beam)))]


class Proposer(Config, ABC):
    """Makes candidates out of what was tried."""

    def check(self, model_kind: str) -> None:
        """Refuse a model this can't work with, before its weights load.

        Raises:
            IncompatibleError: With the reason.
        """

    @abstractmethod
    def propose(self, scene: Scene, width: int) -> list[Candidate]:
        """Up to `width` candidates; those that were tried before are left out by the search.

        Args:
            scene: What was tried.
            width: How many are wanted.
        """


def instructed(parent: Candidate, instruction: str, origin: str) -> Candidate:
    """A candidate with another instruction."""
    return Candidate(replace(parent.prompt, instruction=instruction), origin, parent.key)
