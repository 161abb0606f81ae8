"""Generation: a prompt is read, a completion is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from rung.data.content import as_text
from rung.data.load import LoadedData, load_generation
from rung.data.settings import DataConfig
from rung.data.templates import check_template
from rung.errors import DataError
from rung.metrics.generation import AnswerPattern, row_scores
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
        return Generation((text, text_pair, label), prompt, self.max_new_tokens, pattern)


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
    """

    main_metric: ClassVar[str] = "loss"
    lower_is_better: ClassVar[bool] = True
    labels: tuple[str, ...] = ()

    def __init__(
        self,
        columns: tuple[str, str | None, str],
        prompt: Prompt,
        max_new_tokens: int,
        pattern: AnswerPattern | None = None,
    ) -> None:
        self.text, self.context, self.completion = columns
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens
        self.pattern = pattern

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

    def metrics(self, truth: Sequence[Any], predictions: Sequence[Prediction]) -> Mapping[str, Any]:
        """The means of `row_scores`; the loss is the model's to say, not its texts'."""
        return {name: sum(rows) / len(rows) for name, rows in self.row_scores(truth, predictions).items()}
