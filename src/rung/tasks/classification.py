"""Classification of a text or a pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Literal, Self

import numpy as np

from rung.data.content import as_text, label_of
from rung.data.load import LoadedData, load_classification
from rung.data.settings import DataConfig
from rung.data.templates import check_template
from rung.errors import ConfigError
from rung.metrics.classification import classification_metrics
from rung.metrics.metric import MACRO_F1, OF_LABELS, Metric
from rung.tasks.base import Task, TaskConfig
from rung.types import Example, Prediction, Prompt, Record


class ClassificationConfig(TaskConfig):
    """One label per text, or per pair of texts."""

    usual: ClassVar[bool] = True
    type: Literal["classification"] = "classification"
    text: str | None = None
    """Column of the text; inferred when left out."""
    text_pair: str | None = None
    """Column of the second text of a pair."""
    label: str | None = None
    """Column of the label; inferred when left out."""
    instruction: str | None = None
    """What a decoder is told to do; the labels' answers are added. None = a plain default."""
    template: str | None = None
    """Jinja over the columns: how a decoder is shown one input. None = the text, or both texts named."""
    verbalizer: Mapping[str, str] | None = None
    """Label to the answer a decoder gives. None = the label with underscores as spaces."""

    @property
    def main(self) -> Metric:
        """Macro-F1."""
        return MACRO_F1

    @property
    def choosing(self) -> tuple[Metric, ...]:
        """Macro-F1, accuracy and MCC."""
        return OF_LABELS

    def settled(self, text: str, text_pair: str | None, label: str) -> Self:
        """The settings with `text`, `text_pair` and `label` named."""
        return self.model_copy(update={"text": text, "text_pair": text_pair, "label": label})

    def load(self, config: DataConfig) -> LoadedData:
        """The rows, their columns found, their labels checked."""
        return load_classification(config, {"text": self.text, "text_pair": self.text_pair, "label": self.label})

    def resolve(
        self, text: str, text_pair: str | None, label: str, labels: Sequence[str], columns: tuple[str, ...]
    ) -> Classification:
        """The task on known columns and labels.

        Raises:
            ConfigError: When the template or the verbalizer does not fit them.
        """
        template = self.template or _default_template(text, text_pair)
        check_template(template, (*columns, "this"))
        answers = {name: name.replace("_", " ").strip() for name in labels} | dict(self.verbalizer or {})
        extra = set(answers) - set(labels)
        if extra:
            raise ConfigError(
                f"task.verbalizer names {sorted(extra)[0]!r}, which is no label", f"Labels: {', '.join(labels)}."
            )
        taken: dict[str, str] = {}
        for name in labels:
            if not answers[name].strip():
                raise ConfigError(f"task.verbalizer[{name!r}] is empty", "Give it a word.")
            if answers[name] in taken:
                raise ConfigError(
                    f"labels {taken[answers[name]]!r} and {name!r} have the same answer {answers[name]!r}",
                    "Give each its own in task.verbalizer.",
                )
            taken[answers[name]] = name
        asked = self.instruction or f"Classify the {'pair of texts' if text_pair else 'text'}."
        listed = ", ".join(answers[name] for name in labels)
        instruction = f"{asked.rstrip()} Answer with one of: {listed}."
        prompt = Prompt(instruction, template, {name: answers[name] for name in labels})
        return Classification(text, text_pair, label, tuple(labels), prompt)


def _default_template(text: str, text_pair: str | None) -> str:
    """Column names stand in it as Jinja strings: whatever signs they hold, they are never read as a template."""
    if text_pair is None:
        return f"{{{{ this[{text!r}] }}}}"
    return "\n".join(f"{{{{ {column!r} }}}}: {{{{ this[{column!r}] }}}}" for column in (text, text_pair))


class Classification(Task):
    """Classification with its columns and labels known.

    Args:
        text: Column of the text.
        text_pair: Column of the second text, or None.
        label: Column of the label.
        labels: Label names in order.
        prompt: The default prompt.
    """

    main_metric = MACRO_F1.name

    def __init__(self, text: str, text_pair: str | None, label: str, labels: tuple[str, ...], prompt: Prompt) -> None:
        self.text = text
        self.text_pair = text_pair
        self.label = label
        self.labels = labels
        self.prompt = prompt
        self._number = {name: number for number, name in enumerate(labels)}

    @property
    def reads(self) -> tuple[str, ...]:
        """The text, or both texts of a pair."""
        return (self.text,) if self.text_pair is None else (self.text, self.text_pair)

    def render(self, record: Record, prompt: Prompt) -> Example:
        """The text as it is for encoders, the chat turns for decoders."""
        truth = self.truth(record)
        return Example(
            id=record.id,
            text=as_text(record.fields.get(self.text)),
            pair=None if self.text_pair is None else as_text(record.fields.get(self.text_pair)),
            messages=self.messages(record.fields, self.prompt_for(record, prompt)),
            chat_template=prompt.chat_template,
            answer=None if truth is None else prompt.verbalizer[truth],
            choices=tuple(prompt.verbalizer[name] for name in self.labels),
            target=None if truth is None else self._number[truth],
        )

    def truth(self, record: Record) -> str | None:
        """The label's name, or None for an unlabelled record (or a label never seen)."""
        name = label_of(record, self.label)
        return name if name in self._number else None

    def content_free(self, record: Record, filler: str) -> Record:
        """A record whose texts say nothing: what contextual calibration asks about."""
        blank = dict.fromkeys(self.reads, filler)
        return Record(f"content-free:{filler}", {**record.fields, **blank, self.label: None}, "calibration")

    def parse_scores(self, id: str, scores: Sequence[float], probabilities: Sequence[float]) -> Prediction:
        """The most probable label; the first of equals."""
        best = max(range(len(self.labels)), key=lambda number: probabilities[number])
        return Prediction(id, self.labels[best], tuple(probabilities), tuple(scores))

    def metrics(self, truth: Sequence[Any], predictions: Sequence[Prediction]) -> Mapping[str, Any]:
        """Accuracy, macro-F1, MCC, calibration error, per-class rows and the confusion matrix."""
        known = [one.probabilities for one in predictions]
        probabilities = None if any(one is None for one in known) else np.asarray(known, dtype=np.float64)
        scores = classification_metrics(self.labels, truth, [one.label for one in predictions], probabilities)
        return {**asdict(scores), "confusion": scores.confusion.tolist()}
