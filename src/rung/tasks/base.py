"""What every task is: how a record is shown, how an answer is read, what is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rung.config.base import Config
from rung.types import Example, Prediction, Prompt, Record


class TaskConfig(Config):
    """The user's problem as written in the config; `resolve` turns it into a `Task` once the data is known."""

    @property
    def name(self) -> str:
        """The task's name: its type."""
        return str(self.model_dump()["type"])


class Task(ABC):
    """A problem with its columns and labels known.

    Attributes:
        labels: Label names in order; empty for open answers.
        prompt: The prompt used unless a method chooses another.
    """

    main_metric: ClassVar[str]
    labels: tuple[str, ...]
    prompt: Prompt

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """The columns a record must have to be asked about."""

    @abstractmethod
    def render(self, record: Record, prompt: Prompt) -> Example:
        """A record as an example under a prompt.

        Raises:
            DataError: When the template names a column the record has not.
        """

    @abstractmethod
    def truth(self, record: Record) -> Any:
        """The right answer in the task's own form, or None when the record has none."""

    @abstractmethod
    def shortened(self, record: Record, characters: int) -> Record:
        """A record whose texts have at most so many characters each."""

    @abstractmethod
    def content_free(self, record: Record, filler: str) -> Record:
        """A record whose input says nothing, unlabelled: what contextual calibration asks about."""

    @abstractmethod
    def parse_scores(self, id: str, scores: Sequence[float], probabilities: Sequence[float]) -> Prediction:
        """Scores per label as a prediction."""

    @abstractmethod
    def metrics(self, truth: Sequence[Any], predictions: Sequence[Prediction]) -> Mapping[str, Any]:
        """Every metric of the task, the main one among them."""
