"""Next-token prediction on answers: supervised fine-tuning of decoders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from rung.errors import ConfigError, IncompatibleError, ModelError
from rung.models.tokenizer import end_of_turn_id, render_chats
from rung.models.turns import documents_ids, replies_ids, written_ids
from rung.objectives.worded import Request, Worded, requests
from rung.tasks.fitting import chats_ids
from rung.types import IGNORED, Example, Row, Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence


class CausalLM(Worded):
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
                "Use objective=seq2seq, which reads the prompt with the encoder."
                if model_kind == "encoder_decoder"
                else "Use a decoder, or objective=classification with an encoder.",
            )

    def prompts(self, tokenizer: Any, examples: Sequence[Example]) -> list[list[int]]:
        """The chat up to the opening of the answer."""
        return chats_ids(tokenizer, examples)

    def answers(self, tokenizer: Any, texts: Sequence[str], own_template: bool = True) -> list[list[int]]:
        """The answers with the end of a turn; in plain text a blank stands before each."""
        return replies_ids(tokenizer, texts, own_template)

    def end(self, tokenizer: Any, own_template: bool = True) -> int:
        """The token that ends a turn."""
        return end_of_turn_id(tokenizer, own_template)

    def text(self, tokenizer: Any, ids: Sequence[int], own_template: bool = True) -> str:
        """The text, without the blank that stands before it in plain text."""
        found = str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        return found.removeprefix("" if own_template else " ")

    def room(self, longest: int, answer: int) -> int:
        """What the answer leaves."""
        return longest - answer

    def require_room(self, max_new_tokens: int, longest: int) -> None:
        """A prompt needs room beside its answer."""
        if max_new_tokens >= longest:
            raise ConfigError(
                f"task.max_new_tokens={max_new_tokens} leaves no room for a prompt in max_length={longest}",
                "Lower the one, or raise the other up to what the model can read.",
            )

    def sequence(self, prompt: Sequence[int], answer: Sequence[int], longest: int) -> Tokens:
        """The prompt, and the answer behind it."""
        kept = tuple(answer[: longest - len(prompt)])
        return Tokens((*prompt, *kept), (IGNORED,) * len(prompt) + kept)

    def supervised(self, sequence: Tokens) -> int:
        """Labels that are predicted from the place before: never the first."""
        return sum(label != IGNORED for label in (sequence.labels or ())[1:])

    def encode_all(self, examples: Sequence[Example], tokenizer: Any, max_length: int) -> list[Row]:
        """The prompts and the answers, tokenised together."""
        asked = [one for row, example in enumerate(examples) for one in requests(row, example)]
        tools = [one.example.tools for one in asked]
        own = all(example.chat_template for example in examples)
        prompts = render_chats(tokenizer, [one.before for one in asked], True, own, tools=tools)
        replies = _replies(tokenizer, asked, own)
        found: list[list[Tokens]] = [[] for _ in examples]
        cut = [0] * len(examples)
        for one, prompt, reply in zip(asked, prompts, replies, strict=True):
            assert len(prompt) <= max_length, f"the prompt of row {one.example.id} was not cut to fit"
            tokens = self.sequence(prompt, reply, max_length)
            cut[one.row] += len(prompt) + len(reply) - len(tokens)
            _join(found[one.row], tokens)
        made = zip(examples, found, cut, strict=True)
        return [Row(example.id, tuple(sequences), truncated=lost) for example, sequences, lost in made]


def _replies(tokenizer: Any, asked: Sequence[Request], own_template: bool) -> list[list[int]]:
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
