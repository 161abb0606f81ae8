"""Generation: a prompt is read, a completion is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rung.data.content import as_text
from rung.data.load import LoadedData, load_generation
from rung.data.settings import DataConfig
from rung.data.templates import check_template
from rung.errors import DataError
from rung.metrics.generation import AnswerPattern, last_number, row_scores
from rung.metrics.metric import Floats, Metric
from rung.metrics.written import CHEAP, WRITTEN, AnyMetric, MainMetric, main_metric, text_rows
from rung.tasks.base import Task, TaskConfig
from rung.types import Example, Prediction, Prompt, Record


class GenerationConfig(TaskConfig):
    """A text to be written for each prompt."""

    writes: ClassVar[bool] = True
    type: Literal["generation"] = "generation"
    prompt: str | None = None
    """Column of the prompt; inferred when left out."""
    context: str | None = None
    """Column of what is read with the prompt and may be empty, such as Alpaca's `input`."""
    completion: str | None = None
    """Column of the completion; inferred when left out."""
    instruction: str | None = None
    """What is said before every prompt. None = nothing."""
    template: str | None = None
    """Jinja over the columns: how one prompt is shown. None = the prompt, and its context below it."""
    max_new_tokens: int = Field(default=256, ge=1)
    """Most tokens an answer may have; so many of max_length are kept free of the prompt."""
    answer_pattern: str | None = None
    """A regular expression with one group that finds the final answer in a completion: its last match counts. None =
    the whole completion is the answer."""
    metrics: tuple[AnyMetric, ...] = CHEAP
    """What is computed on the test rows, besides the main metric and how answers ended."""
    main_metric: MainMetric | None = None
    """What runs are compared by. None = exact_match with an answer_pattern, else token_f1."""

    @model_validator(mode="after")
    def _finds_answers(self) -> Self:
        if "answer_found" in self.metrics and self.answer_pattern is None:
            raise ValueError("metrics has answer_found, which counts matches of answer_pattern: set a pattern too")
        return self

    @property
    def main(self) -> Metric:
        """The main metric."""
        return main_metric(self.main_metric, self.answer_pattern is not None)

    @property
    def measured(self) -> tuple[str, ...]:
        """The metrics that are computed: the main one first, each once."""
        return tuple(dict.fromkeys((self.main.name, *self.metrics)))

    def settled(self, text: str, text_pair: str | None, label: str) -> Self:
        """The settings with `prompt`, `context` and `completion` named."""
        return self.model_copy(update={"prompt": text, "context": text_pair, "completion": label})

    def load(self, config: DataConfig) -> LoadedData:
        """The rows, their columns found, and every test completion seen to have a final answer."""
        data = load_generation(config, {"prompt": self.prompt, "context": self.context, "completion": self.completion})
        if self.answer_pattern is not None:
            pattern = AnswerPattern(self.answer_pattern)
            tested = data.splits.test
            bare = [one for one in tested if pattern.find(as_text(one.fields.get(data.columns.label))) is None]
            if bare:
                raise DataError(
                    f"task.answer_pattern={self.answer_pattern!r} finds nothing in the completions of {len(bare)} of "
                    f"{len(tested)} test rows, first at {bare[0].source}",
                    "Mend the pattern or those rows, or leave the pattern out.",
                )
        if "number_match" in self.measured:
            tested = data.splits.test
            bare = [one for one in tested if last_number(as_text(one.fields.get(data.columns.label))) is None]
            if bare:
                raise DataError(
                    f"task.metrics has number_match, and {len(bare)} of {len(tested)} test rows have no number in "
                    f"their completion, first at {bare[0].source}",
                    "Mend those rows, or leave number_match out.",
                )
        return data

    def resolve(
        self, text: str, text_pair: str | None, label: str, labels: Sequence[str], columns: tuple[str, ...]
    ) -> Generation:
        """The task on known columns: `text` is the prompt's, `text_pair` the context's, `label` the completion's.

        Raises:
            ConfigError: When the template or the pattern does not fit them.
        """
        template = self.template or _default_template(text, text_pair)
        check_template(template, (*columns, "this"))
        pattern = None if self.answer_pattern is None else AnswerPattern(self.answer_pattern)
        prompt = Prompt(self.instruction or "", template)
        return Generation((text, text_pair, label), prompt, self.max_new_tokens, pattern, self.measured)


def _default_template(prompt: str, context: str | None) -> str:
    """Column names stand in it as Jinja strings: whatever signs they hold, they are never read as a template."""
    shown = f"{{{{ this[{prompt!r}] }}}}"
    if context is None:
        return shown
    return f"{shown}{{% if this[{context!r}] %}}\n\n{{{{ this[{context!r}] }}}}{{% endif %}}"


class Generation(Task):
    """Generation with its columns known.

    Args:
        columns: Of the prompt, of the context (or None), of the completion.
        prompt: The default prompt.
        max_new_tokens: Most tokens an answer may have.
        pattern: Finds the final answer in a completion; None = all of it.
        measured: What is computed, the main metric first.
    """

    selection_metric: ClassVar[str] = "loss"
    lower_is_better: ClassVar[bool] = True
    labels: tuple[str, ...] = ()

    def __init__(
        self,
        columns: tuple[str, str | None, str],
        prompt: Prompt,
        max_new_tokens: int,
        pattern: AnswerPattern | None = None,
        measured: tuple[str, ...] = ("loss", "exact_match", "token_f1"),
    ) -> None:
        self.text, self.context, self.completion = columns
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens
        self.pattern = pattern
        self.main_metric, self.measured = measured[0], measured

    @property
    def reads(self) -> tuple[str, ...]:
        """The prompt, and its context."""
        return (self.text,) if self.context is None else (self.text, self.context)

    def render(self, record: Record, prompt: Prompt) -> Example:
        """The chat turns up to the answer, and the completion as the answer."""
        truth = self.truth(record)
        return Example(
            id=record.id,
            text=as_text(record.fields.get(self.text)),
            messages=self.messages(record.fields, self.prompt_for(record, prompt)),
            chat_template=prompt.chat_template,
            answer=truth,
            target=truth,
        )

    def truth(self, record: Record) -> str | None:
        """The completion as it stands, or None where there is none."""
        text = as_text(record.fields.get(self.completion))
        return text if text.strip() else None

    def content_free(self, record: Record, filler: str) -> Record:
        """A record that asks for nothing."""
        blank = dict.fromkeys(self.reads, filler)
        return Record(f"content-free:{filler}", {**record.fields, **blank, self.completion: None}, "calibration")

    def row_scores(self, truth: Sequence[Any], predictions: Sequence[Prediction]) -> dict[str, list[float]]:
        """Per metric one score a row, 0 to 1: `exact_match` of the final answers, `token_f1` of the texts."""
        return row_scores(truth, [str(one.label) for one in predictions], self.pattern)

    def text_rows(self, truth: Sequence[Any], predictions: Sequence[Prediction]) -> dict[str, Floats]:
        """Per metric of texts that is computed, `[N, K]` what each row adds to it."""
        texts = ["" if one.label is None else str(one.label) for one in predictions]
        of_texts = [name for name in self.measured if WRITTEN[name].rows != "loss"]
        return {name: text_rows(name, truth, texts, self.pattern) for name in of_texts}

    def metrics(self, truth: Sequence[Any], predictions: Sequence[Prediction]) -> Mapping[str, Any]:
        """The metrics of texts; the loss is the model's to say, not its texts'."""
        return {name: WRITTEN[name].of(rows) for name, rows in self.text_rows(truth, predictions).items()}
