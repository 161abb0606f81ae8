"""The answer from what was read: supervised fine-tuning of encoder-decoders.

Paper: Raffel et al. 2019, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", arXiv
1910.10683. The source goes to the encoder, the answer to the decoder behind its start token; the loss is transformers'
own for the same labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import PrivateAttr

from rung.errors import ConfigError, IncompatibleError, ModelError
from rung.models.sources import end_id, sources_ids, targets_ids
from rung.objectives.worded import Request, Worded, requests
from rung.types import IGNORED, Example, Row, Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rung.models.families import Family


class Seq2Seq(Worded):
    """Predict the answer's tokens and its end from the source; every turn that is learned has a source of its own."""

    type: Literal["seq2seq"] = "seq2seq"
    _start: int | None = PrivateAttr(None)

    def check(self, model_kind: str, task: str) -> None:
        """Only encoder-decoders read one text and write another."""
        if model_kind != "encoder_decoder":
            todo = "objective=causal_lm with a decoder" if model_kind == "decoder" else "objective=classification"
            raise IncompatibleError(
                f"objective=seq2seq reads one text and writes another, which a model of kind {model_kind} does not do",
                f"Use an encoder-decoder (T5, BART), or {todo}.",
            )

    def on(self, family: Family) -> Self:
        """Learns from the model what its decoder reads before an answer."""
        known = self.model_copy()
        known._start = family.decoder_start
        return known

    def prompts(self, tokenizer: Any, examples: Sequence[Example]) -> list[list[int]]:
        """What the encoder reads."""
        for example in examples:
            _require_texts(Request(0, example, example.messages, None))
        return sources_ids(tokenizer, [example.messages for example in examples])

    def answers(self, tokenizer: Any, texts: Sequence[str], own_template: bool = True) -> list[list[int]]:
        """What the decoder is to write; these models have no chat template, so that it makes no difference."""
        return targets_ids(tokenizer, texts)

    def end(self, tokenizer: Any, own_template: bool = True) -> int:
        """The end-of-sequence token."""
        return end_id(tokenizer)

    def text(self, tokenizer: Any, ids: Sequence[int], own_template: bool = True) -> str:
        """The text without special tokens."""
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def room(self, longest: int, answer: int) -> int:
        """All of it: the answer stands on the other side."""
        return longest

    def require_room(self, max_new_tokens: int, longest: int) -> None:
        """An answer may be as long as a source."""
        if max_new_tokens > longest:
            raise ConfigError(
                f"task.max_new_tokens={max_new_tokens} is more than an answer may have: max_length={longest} holds for "
                "what is read and for what is written",
                "Lower the one, or raise the other up to what the model can read.",
            )

    def sequence(self, prompt: Sequence[int], answer: Sequence[int], longest: int) -> Tokens:
        """The source, and the answer as labels, which the decoder reads one place later."""
        assert self._start is not None, "ask `on(family)` first: the model knows its decoder's start"
        labels = tuple(answer[:longest]) or (IGNORED,)
        return Tokens((self._start, *labels[:-1]), labels, source_ids=tuple(prompt))

    def encode_all(self, examples: Sequence[Example], tokenizer: Any, max_length: int) -> list[Row]:
        """The sources and the answers, tokenised together."""
        asked = [one for row, example in enumerate(examples) for one in requests(row, example)]
        for one in asked:
            _require_texts(one)
        sources = sources_ids(tokenizer, [one.before for one in asked])
        answers = iter(targets_ids(tokenizer, [one.reply.content for one in asked if one.reply is not None]))
        found: list[list[Tokens]] = [[] for _ in examples]
        cut = [0] * len(examples)
        for one, source in zip(asked, sources, strict=True):
            assert len(source) <= max_length, f"the prompt of row {one.example.id} was not cut to fit"
            answer = [] if one.reply is None else next(answers)
            cut[one.row] += max(0, len(answer) - max_length)
            found[one.row].append(self.sequence(source, answer, max_length))
        made = zip(examples, found, cut, strict=True)
        return [Row(example.id, tuple(sequences), truncated=lost) for example, sequences, lost in made]


def _require_texts(asked: Request) -> None:
    """Refuse rows in which there is nothing to read, or more than text to write."""
    if not asked.before:
        raise ModelError(
            f"row {asked.example.id} is a text without a prompt, and an encoder-decoder writes from what it reads",
            "Give the rows a prompt and a completion, or use a decoder.",
        )
    turns = [*asked.before, *([] if asked.reply is None else [asked.reply])]
    if asked.example.tools or any(turn.more.keys() & {"tool_calls", "reasoning_content"} for turn in turns):
        raise ModelError(
            f"row {asked.example.id} calls tools or reasons, which encoder-decoders have no template for",
            "Use a decoder whose chat template knows tools, or leave these rows out.",
        )
