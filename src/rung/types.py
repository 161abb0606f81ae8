"""The values that cross seams: plain, frozen, and free of torch at import time.

Shapes in docstrings: `T` tokens of a sequence, `P` scored positions, `H` hidden size, `C` choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

IGNORED = -100
"""Label of a position that is not supervised (the value PyTorch and transformers use)."""


@dataclass(frozen=True, slots=True)
class Record:
    """One input row.

    Attributes:
        id: Stable id made of the row's normalised content (and a counter for repeats).
        fields: Column name to value, as read.
        source: Where it stood: `file:line` (lines count from 1; a parquet row is `file:row N`).
    """

    id: str
    fields: Mapping[str, Any]
    source: str


@dataclass(frozen=True, slots=True)
class Message:
    """One chat turn.

    Attributes:
        role: `system`, `user`, `assistant` or `tool`.
        content: Its text.
        more: What else a chat template may read of it, such as `tool_calls`.
        learned: Whether an assistant's turn is learned though it is not the last.
    """

    role: str
    content: str
    more: Mapping[str, Any] = field(default_factory=dict)
    learned: bool = False


@dataclass(frozen=True, slots=True)
class Shot:
    """A solved example shown in a prompt: the input's columns and the answer's text."""

    fields: Mapping[str, Any]
    answer: str


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Solved examples of which every request is shown those most like it.

    Attributes:
        shots: The examples, in a fixed order.
        embeddings: `[N, H]` their inputs' embeddings, fp32, each of length 1.
        encoder: Reference of the model that made them, and embeds the requests.
        encoder_hash: Hash of that model's weights.
        count: How many of them a request is shown.
        nearest_last: Whether the one most like the request comes last; else they keep the pool's order.
    """

    shots: tuple[Shot, ...]
    embeddings: NDArray[np.float32]
    encoder: str
    encoder_hash: str
    count: int
    nearest_last: bool = True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pool):
            return NotImplemented
        return self._settings() == other._settings() and bool((self.embeddings == other.embeddings).all())

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def _settings(self) -> tuple[Any, ...]:
        kind = (self.encoder, self.encoder_hash, self.count, self.nearest_last)
        return (self.shots, self.embeddings.shape, *kind)


@dataclass(frozen=True, slots=True)
class Prompt:
    """How a decoder is asked. A value: it is saved as `prompt.json` and compared by equality.

    Attributes:
        instruction: What to do, in words.
        template: Sandboxed Jinja over the record's columns, giving one input's text.
        verbalizer: Label to answer text, in label order; empty for open answers.
        shots: Solved examples, in the order they are shown.
        calibration: Log-prior per label, taken off the scores (contextual calibration); None = off.
        pool: Examples from which each request gets its own shots, in place of `shots`; None = all get the same.
        chat_template: Whether the turns are written in the model's own chat template; False = as plain text.
    """

    instruction: str
    template: str
    verbalizer: Mapping[str, str] = field(default_factory=dict)
    shots: tuple[Shot, ...] = ()
    calibration: tuple[float, ...] | None = None
    pool: Pool | None = None
    chat_template: bool = True


@dataclass(frozen=True, slots=True)
class Example:
    """A record as a task renders it: what is read, what may be answered, what is right.

    Attributes:
        id: The record's id.
        text: What an encoder reads.
        pair: The second text of a pair, or None.
        messages: What a decoder reads: chat turns, ending before the answer.
        answer: The right answer's text (decoders), or None when the record has no label.
        choices: The allowed answers' texts, in label order; empty for open answers.
        target: The right answer in the task's own form (label index, tags, span), or None.
        words: The text as words, where the task is about words; empty elsewhere.
        chat_template: Whether the turns are written in the model's own chat template; False = as plain text.
        reply: The answer as a turn, where it is more than a text (it calls tools); None elsewhere.
        tools: Descriptions of the tools that may be called, for the chat template.
    """

    id: str
    text: str = ""
    pair: str | None = None
    messages: tuple[Message, ...] = ()
    answer: str | None = None
    choices: tuple[str, ...] = ()
    target: Any = None
    words: tuple[str, ...] = ()
    chat_template: bool = True
    reply: Message | None = None
    tools: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Tokens:
    """One token sequence, never padded.

    Attributes:
        input_ids: `[T]` token ids.
        labels: `[T]` the id each position *is supervised to be* (already aligned with input_ids: for a
            causal model position t is predicted from position t - 1; the decoder of an encoder-decoder reads its
            labels one place later, so there position t predicts label t), `IGNORED` elsewhere; None = no labels.
        token_type_ids: `[T]` segment ids of encoders that have them, else None.
        source_ids: `[S]` what an encoder-decoder's encoder reads (its decoder reads `input_ids`), else None.
        adapter: Name of the adapter this sequence runs through (see `rung.methods.mixed`); None = none of the named.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...] | None = None
    token_type_ids: tuple[int, ...] | None = None
    source_ids: tuple[int, ...] | None = None
    adapter: str | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def size(self) -> int:
        """Tokens that go through the model: those of both sides of an encoder-decoder."""
        return len(self.input_ids) + len(self.source_ids or ())


@dataclass(frozen=True, slots=True)
class Row:
    """An example as an objective encodes it: one sequence, or several (chosen and rejected, choices).

    Attributes:
        id: The record's id.
        sequences: The token sequences of this row.
        target: The objective's own target (label index, tags, span, reference log-probs), or None.
        truncated: Tokens cut off to fit the length limit.
    """

    id: str
    sequences: tuple[Tokens, ...]
    target: Any = None
    truncated: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """A micro-batch: rows in their canonical order."""

    rows: tuple[Row, ...]

    @property
    def sequences(self) -> tuple[Tokens, ...]:
        """All sequences of all rows, row by row."""
        return tuple(sequence for row in self.rows for sequence in row.sequences)


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a loss: a sum, the count it is to be divided by (once, by the engine), its weight."""

    sum: torch.Tensor
    count: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Loss:
    """What an objective returns for a micro-batch: sums, never means.

    Attributes:
        terms: Term name to `Term`.
        per_row: `[rows]` each row's own loss sum, detached: names the rows behind a non-finite loss.
    """

    terms: Mapping[str, Term]
    per_row: torch.Tensor


@dataclass(frozen=True, slots=True)
class Prediction:
    """An answer, however it was found.

    Attributes:
        id: The record's id.
        label: The answer in the task's own form (label name, tags, text).
        probabilities: Probability per label in label order, or None for open answers.
        scores: Raw score per label (log-probabilities before calibration, or logits), or None.
    """

    id: str
    label: Any
    probabilities: tuple[float, ...] | None = None
    scores: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """The output layer an objective needs on top of the body.

    Attributes:
        kind: `sequence` (one vector per sequence) or `token` (one per token).
        outputs: Number of outputs.
        labels: Their names, in order.
        pooling: `cls`, `mean`, `last` or `pooler` (BERT's own): how a sequence becomes one vector.
    """

    kind: str
    outputs: int
    labels: tuple[str, ...] = ()
    pooling: str = "cls"
