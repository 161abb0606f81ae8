"""What every task is: how a record is shown, how an answer is read, what is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

from rung.config.base import Config
from rung.data.content import as_text
from rung.data.load import LoadedData
from rung.data.settings import DataConfig
from rung.data.templates import render
from rung.metrics.metric import Metric
from rung.tasks.shots import nearest_shots
from rung.types import Example, Message, Prediction, Prompt, Record


class TaskConfig(Config, ABC):
    """The user's problem as written in the config; `resolve` turns it into a `Task` once the data is known."""

    writes: ClassVar[bool] = False
    """Whether an answer is text that the model writes, not one of a few labels."""

    @property
    def name(self) -> str:
        """The task's name: its type."""
        return str(self.model_dump()["type"])

    @property
    @abstractmethod
    def main(self) -> Metric:
        """What runs of this task are compared by."""

    @property
    @abstractmethod
    def choosing(self) -> tuple[Metric, ...]:
        """The metrics that a run's weights may be chosen by, the usual one first."""

    @abstractmethod
    def settled(self, text: str, text_pair: str | None, label: str) -> Self:
        """The same settings with their columns named: of what is read, of what is read besides, of the answer."""

    @abstractmethod
    def load(self, config: DataConfig) -> LoadedData:
        """Read, split and check the rows this task is about.

        Raises:
            DataError: They can't be used.
        """

    @abstractmethod
    def resolve(
        self, text: str, text_pair: str | None, label: str, labels: Sequence[str], columns: tuple[str, ...]
    ) -> Task:
        """The task on known columns.

        Args:
            text: Column of what is read.
            text_pair: Column of what is read besides, or None.
            label: Column of the right answer.
            labels: Label names in order; empty for open answers.
            columns: All columns, which a template may name.

        Raises:
            ConfigError: When a setting does not fit them.
        """


class Task(ABC):
    """A problem with its columns and labels known.

    Attributes:
        main_metric: The metric that decides between runs.
        labels: Label names in order; empty for open answers.
        prompt: The prompt used unless a method chooses another.
    """

    main_metric: str
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

    def asked(self, fields: Mapping[str, Any]) -> str:
        """What is read of a row, as one text: what likeness between rows is told by."""
        return "\n".join(as_text(fields.get(column)) for column in self.reads)

    def prompt_for(self, record: Record, prompt: Prompt) -> Prompt:
        """The prompt that one record is asked under: a pool of examples gives way to the shots nearest to it."""
        if prompt.pool is None:
            return prompt
        return replace(prompt, shots=nearest_shots(prompt.pool, self.asked(record.fields), self.asked), pool=None)

    def messages(self, fields: Mapping[str, Any], prompt: Prompt) -> tuple[Message, ...]:
        """User and assistant in turn; the instruction opens the first user turn, since not all models have a system."""
        opening = f"{prompt.instruction}\n\n" if prompt.instruction else ""
        turns: list[Message] = []
        for shot in prompt.shots:
            turns += [Message("user", opening + self.shown(prompt, shot.fields)), Message("assistant", shot.answer)]
            opening = ""
        return (*turns, Message("user", opening + self.shown(prompt, fields)))

    def shown(self, prompt: Prompt, fields: Mapping[str, Any]) -> str:
        """What is read is shown as text: nothing (None) as nothing."""
        shown = {**fields, **{column: as_text(fields.get(column)) for column in self.reads}}
        return render(prompt.template, {**shown, "this": shown})

    def shortened(self, record: Record, characters: int) -> Record:
        """A record whose texts have at most so many characters each: their ends are cut."""
        cut = {column: as_text(record.fields.get(column))[:characters] for column in self.reads}
        return Record(record.id, {**record.fields, **cut}, record.source)

    @abstractmethod
    def content_free(self, record: Record, filler: str) -> Record:
        """A record whose input says nothing, unlabelled: what contextual calibration asks about."""

    def parse_scores(self, id: str, scores: Sequence[float], probabilities: Sequence[float]) -> Prediction:
        """Scores per label as a prediction (tasks with labels)."""
        raise NotImplementedError(f"{type(self).__name__} has no labels to score")

    @abstractmethod
    def metrics(self, truth: Sequence[Any], predictions: Sequence[Prediction]) -> Mapping[str, Any]:
        """Every metric of the task, the main one among them."""
