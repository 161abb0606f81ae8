"""Generation: a prompt is read, a completion is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rung.data.content import as_text
from rung.data.conversations import Conversation, conversation, newest, opened, pairs, plain, turns_of
from rung.data.load import LoadedData, load_generation
from rung.data.settings import DataConfig
from rung.data.templates import check_template
from rung.data.written import HISTORY_NAME, SYSTEM_NAMES, beside
from rung.errors import ConfigError, DataError
from rung.metrics.generation import AnswerPattern, last_number
from rung.metrics.metric import Floats, Metric
from rung.metrics.written import CHEAP, ENDINGS, WRITTEN, AnyMetric, MainMetric, main_metric, text_rows
from rung.tasks.base import Task, TaskConfig
from rung.types import Example, Message, Prediction, Prompt, Record


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
    messages: str | None = None
    """Column of a conversation, in place of a prompt and a completion; inferred when left out."""
    train_on: Literal["all", "last"] = "all"
    """Which of the assistant's turns of a conversation are learned."""
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

    @property
    def choosing(self) -> tuple[Metric, ...]:
        """The loss and its exponential, then what is told of written answers."""
        names = dict.fromkeys(("loss", "perplexity", *self.measured, *ENDINGS))
        return tuple(WRITTEN[name] for name in names)

    def settled(self, text: str, text_pair: str | None, label: str) -> Self:
        """The settings with `prompt`, `context` and `completion` named."""
        return self.model_copy(update={"prompt": text, "context": text_pair, "completion": label})

    def load(self, config: DataConfig) -> LoadedData:
        """The rows, their columns found, and every test completion seen to have a final answer."""
        names = ("prompt", "context", "completion", "messages")
        data = load_generation(config, {name: getattr(self, name) for name in names})
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
        turns = turns_of(text, label, columns)
        if self.template is not None and (turns or text == label):
            raise ConfigError(
                f"task.template={self.template!r} shows columns, and these rows are "
                + ("conversations" if turns else "texts"),
                "Leave it out; task.instruction may open a conversation.",
            )
        template = self.template or _default_template(text, text_pair)
        check_template(template, (*columns, "this"))
        pattern = None if self.answer_pattern is None else AnswerPattern(self.answer_pattern)
        prompt = Prompt(self.instruction or "", template)
        free = [column for column in columns if column not in (text, text_pair, label)]
        found = Roles(text, text_pair, label, turns, beside(free, SYSTEM_NAMES), beside(free, (HISTORY_NAME,)))
        every = self.train_on == "all"
        return Generation(found, prompt, self.max_new_tokens, pattern, self.measured, every)


@dataclass(frozen=True, slots=True)
class Roles:
    """Which column is what.

    Attributes:
        prompt: What is asked; of a conversation, all text before its answer.
        context: What is read with it and may be empty, or None.
        completion: What is to be written; the same as the prompt where a text alone is learned.
        turns: The columns of a conversation; none where there is none.
        system: A system message of each row, or None.
        history: Earlier exchanges, or None.
    """

    prompt: str
    context: str | None
    completion: str
    turns: tuple[str, ...] = ()
    system: str | None = None
    history: str | None = None


def _default_template(prompt: str, context: str | None) -> str:
    """Column names stand in it as Jinja strings: whatever signs they hold, they are never read as a template."""
    shown = f"{{{{ this[{prompt!r}] }}}}"
    if context is None:
        return shown
    return f"{shown}{{% if this[{context!r}] %}}\n\n{{{{ this[{context!r}] }}}}{{% endif %}}"


class Generation(Task):
    """Generation with its columns known.

    Args:
        columns: Which column is what.
        prompt: The default prompt.
        max_new_tokens: Most tokens an answer may have.
        pattern: Finds the final answer in a completion; None = all of it.
        measured: What is computed, the main metric first.
        every: Whether all of the assistant's turns of a conversation are learned; else the last alone.
    """

    labels: tuple[str, ...] = ()

    def __init__(
        self,
        columns: Roles,
        prompt: Prompt,
        max_new_tokens: int,
        pattern: AnswerPattern | None = None,
        measured: tuple[str, ...] = ("loss", "exact_match", "token_f1"),
        every: bool = True,
    ) -> None:
        self.columns = columns
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens
        self.pattern = pattern
        self.main_metric, self.measured = measured[0], measured
        self.every = every

    @property
    def reads(self) -> tuple[str, ...]:
        """The conversation, or the prompt and its context; nothing where a text alone is learned."""
        found = self.columns
        if found.turns or found.prompt == found.completion:
            return found.turns[:1]
        return (found.prompt,) if found.context is None else (found.prompt, found.context)

    def render(self, record: Record, prompt: Prompt) -> Example:
        """The chat turns up to the answer, and the completion as the answer."""
        own = self.prompt_for(record, prompt)
        if not self.columns.turns:
            truth = self.truth(record)
            return Example(
                id=record.id,
                text=as_text(record.fields.get(self.columns.prompt)),
                messages=self.messages(record.fields, own) if self.reads else (),
                chat_template=prompt.chat_template,
                answer=truth,
                target=truth,
            )
        found = self._conversation(record)
        truth = None if found.reply is None else found.written
        return Example(
            id=record.id,
            text=found.read,
            messages=self._with_shots(found, own),
            chat_template=prompt.chat_template,
            answer=truth,
            target=truth,
            reply=found.reply,
            tools=found.tools,
        )

    def messages(self, fields: Mapping[str, Any], prompt: Prompt) -> tuple[Message, ...]:
        """The turns of a row of columns: its system message, the shots, earlier exchanges, what is asked."""
        *shots, asked = super().messages(fields, replace(prompt, instruction=""))
        said = as_text(fields.get(self.columns.system)) if self.columns.system else ""
        earlier = pairs(fields.get(self.columns.history), f"{self.columns.history}") if self.columns.history else []
        system = [Message("system", said)] if said.strip() else []
        earlier = [replace(one, learned=one.learned and self.every) for one in earlier]
        return opened([*system, *shots, *earlier, asked], prompt.instruction)

    def asked(self, fields: Mapping[str, Any]) -> str:
        """Of a conversation what is said before its answer, never the answer."""
        if not self.columns.turns:
            return super().asked(fields)
        return conversation(fields, self.columns.turns, "a row", self.every).read

    def _with_shots(self, found: Conversation, prompt: Prompt) -> tuple[Message, ...]:
        """A conversation's turns behind the shots, of which only the last question and the answer are shown."""
        turns = found.before or (Message("user", ""),)
        shots: list[Message] = []
        for shot in prompt.shots:
            shots += [Message("user", as_text(shot.fields.get(self.columns.prompt))), Message("assistant", shot.answer)]
        start = 1 if turns[0].role == "system" else 0
        return opened([*turns[:start], *shots, *turns[start:]], prompt.instruction)

    def _conversation(self, record: Record) -> Conversation:
        return conversation(record.fields, self.columns.turns, record.source, self.every)

    def shortened(self, record: Record, characters: int) -> Record:
        """Of a conversation the last turns that have so many characters together; the newest one's end is cut."""
        if not self.columns.turns:
            short = super().shortened(record, characters)
            return short if not self.columns.history else self._newest_history(short, characters)
        found = self._conversation(record)
        kept = newest(found.before, characters)
        rest = {self.columns.turns[-1]: [] if found.reply is None else [plain(found.reply)]}
        first = self.columns.turns[0]
        turns = [*map(plain, kept), *(rest.pop(first, []))]
        return Record(record.id, {**record.fields, first: turns, **rest}, record.source)

    def _newest_history(self, record: Record, characters: int) -> Record:
        name = f"{self.columns.history}"
        turns = pairs(record.fields.get(name), name)
        exchanges = [[one.content, two.content] for one, two in zip(turns[::2], turns[1::2], strict=True)]
        while sum(len(text) for pair in exchanges for text in pair) > characters:
            exchanges.pop(0)
        return Record(record.id, {**record.fields, name: exchanges}, record.source)

    def truth(self, record: Record) -> str | None:
        """The completion as it stands, or None where there is none."""
        if self.columns.turns:
            return self._conversation(record).written or None
        text = as_text(record.fields.get(self.columns.completion))
        return text if text.strip() else None

    def content_free(self, record: Record, filler: str) -> Record:
        """A record that asks for nothing."""
        empty: Any = [{"role": "user", "content": filler}] if self.columns.turns else filler
        blank = {**dict.fromkeys(self.columns.turns), **dict.fromkeys(self.reads, empty), self.columns.completion: None}
        return Record(f"content-free:{filler}", {**record.fields, **blank}, "calibration")

    def text_rows(self, truth: Sequence[Any], predictions: Sequence[Prediction]) -> dict[str, Floats]:
        """Per metric of texts that is computed, `[N, K]` what each row adds to it."""
        texts = ["" if one.label is None else str(one.label) for one in predictions]
        of_texts = [name for name in self.measured if WRITTEN[name].rows != "loss"]
        return {name: text_rows(name, truth, texts, self.pattern) for name in of_texts}

    def metrics(self, truth: Sequence[Any], predictions: Sequence[Prediction]) -> Mapping[str, Any]:
        """The metrics of texts; the loss is the model's to say, not its texts'."""
        return {name: WRITTEN[name].of(rows) for name, rows in self.text_rows(truth, predictions).items()}
