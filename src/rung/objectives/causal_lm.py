"""Next-token prediction on answers: supervised fine-tuning of decoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from rung.errors import IncompatibleError, ModelError
from rung.models.tokenizer import render_chats
from rung.models.turns import documents_ids, replies_ids, written_ids
from rung.objectives.base import Objective, Trained
from rung.types import IGNORED, Batch, Example, Loss, Message, Row, Term, Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class CausalLM(Objective):
    """Predict the answer's tokens and the end of its turn; the prompt is read, never learned.

    Every turn that is learned stands behind the very tokens by which a model is asked for it, so that no mask has to be
    found in a rendered text. Turns of a conversation whose requests begin with what came before are one sequence; where
    a chat template writes earlier turns otherwise (without their reasoning, say), each has a sequence of its own.
    """

    type: Literal["causal_lm"] = "causal_lm"

    def check(self, model_kind: str, task: str) -> None:
        """Only decoders predict the next token."""
        if model_kind != "decoder":
            raise IncompatibleError(
                f"objective=causal_lm predicts the next token, which a model of kind {model_kind} does not do",
                "Use a decoder, or objective=classification with an encoder.",
            )

    def encode(self, example: Example, tokenizer: Any, max_length: int) -> Row:
        """The prompt, then the answer and the end-of-turn token, which alone are supervised.

        The prompt has been cut to fit before (see `rung.tasks.fitting`). An answer that is longer than the rest loses
        its end, and the end-of-turn token with it: nobody is taught to stop in the middle.
        """
        return self.encode_all([example], tokenizer, max_length)[0]

    def encode_all(self, examples: Sequence[Example], tokenizer: Any, max_length: int) -> list[Row]:
        """The prompts and the answers, tokenised together."""
        asked = [one for row, example in enumerate(examples) for one in _requests(row, example)]
        tools = [one.example.tools for one in asked]
        own = all(example.chat_template for example in examples)
        prompts = render_chats(tokenizer, [one.before for one in asked], True, own, tools=tools)
        replies = _replies(tokenizer, asked, own)
        found: list[list[Tokens]] = [[] for _ in examples]
        cut = [0] * len(examples)
        for one, prompt, reply in zip(asked, prompts, replies, strict=True):
            assert len(prompt) <= max_length, f"the prompt of row {one.example.id} was not cut to fit"
            kept = reply[: max_length - len(prompt)]
            cut[one.row] += len(reply) - len(kept)
            tokens = Tokens((*prompt, *kept), (*[IGNORED] * len(prompt), *kept))
            _join(found[one.row], tokens)
        made = zip(examples, found, cut, strict=True)
        return [Row(example.id, tuple(sequences), truncated=lost) for example, sequences, lost in made]

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """Supervised tokens."""
        return {"causal_lm": sum(_supervised(sequence) for sequence in batch.sequences)}

    def loss(self, adapted: Trained, batch: Batch) -> Loss:
        """Negative log-likelihood of the supervised tokens."""
        losses = -adapted.logprobs(batch.sequences)
        return Loss(
            {"causal_lm": Term(losses.sum(), len(losses))},
            row_sums(losses, [sum(_supervised(one) for one in row.sequences) for row in batch.rows]),
        )


def answer_ids(tokenizer: Any, answer: str, own_template: bool = True) -> list[int]:
    """An answer's token ids with the end of its turn; in plain text a blank stands before it."""
    return replies_ids(tokenizer, [answer], own_template)[0]


@dataclass(frozen=True, slots=True)
class _Request:
    """A turn that is learned, in which row, and what comes before it; `reply` is None where there is no answer yet."""

    row: int
    example: Example
    before: tuple[Message, ...]
    reply: Message | None


def _requests(row: int, example: Example) -> list[_Request]:
    """Every turn that is learned, in order, the answer last."""
    turns = example.messages
    earlier = [_Request(row, example, turns[:at], turn) for at, turn in enumerate(turns) if turn.learned]
    answer = None if example.answer is None else Message("assistant", example.answer)
    return [*earlier, _Request(row, example, turns, example.reply or answer)]


def _replies(tokenizer: Any, asked: Sequence[_Request], own_template: bool) -> list[list[int]]:
    """Token ids of each turn; those of texts are asked for together."""
    found: list[list[int]] = [[] for _ in asked]
    texts: list[int] = []
    documents: list[int] = []
    for at, one in enumerate(asked):
        if one.reply is None:
            continue
        if one.reply.more.keys() & {"tool_calls", "reasoning_content"}:
            try:
                found[at] = written_ids(tokenizer, one.before, one.reply, one.example.tools, own_template)
            except ModelError as error:
                raise ModelError(f"row {one.example.id}: {error.what}", error.todo) from None
        else:
            (texts if one.before else documents).append(at)
    for places, encode in ((texts, replies_ids), (documents, documents_ids)):
        given = [reply.content for at in places if (reply := asked[at].reply) is not None]
        for at, ids in zip(places, encode(tokenizer, given, own_template), strict=True):
            found[at] = ids
    return found


def _join(sequences: list[Tokens], tokens: Tokens) -> None:
    """Add a request: to the sequence before where it goes on from there token by token, else beside it."""
    last = sequences[-1] if sequences else None
    if last is None or tokens.input_ids[: len(last)] != last.input_ids:
        sequences.append(tokens)
        return
    assert last.labels is not None and tokens.labels is not None
    sequences[-1] = Tokens(tokens.input_ids, last.labels + tokens.labels[len(last) :])


def row_sums(losses: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """`[rows]` sums of consecutive runs of `losses`, detached."""
    return torch.stack([part.sum() for part in losses.detach().split(sizes)])


def _supervised(sequence: Tokens) -> int:
    return sum(label != IGNORED for label in (sequence.labels or ())[1:])
