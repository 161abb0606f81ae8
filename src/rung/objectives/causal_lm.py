"""Next-token prediction on answers: supervised fine-tuning of decoders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from rung.errors import IncompatibleError
from rung.models.tokenizer import end_of_turn_id, render_chats
from rung.objectives.base import Objective, Trained
from rung.types import IGNORED, Batch, Example, Loss, Row, Term, Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class CausalLM(Objective):
    """Predict the answer's tokens and the end of its turn; the prompt is read, never learned."""

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
        own = all(example.chat_template for example in examples)
        prompts = render_chats(tokenizer, [example.messages for example in examples], True, own)
        given = [example.answer for example in examples if example.answer is not None]
        answers = iter(answers_ids(tokenizer, given, own))
        rows = []
        for example, prompt in zip(examples, prompts, strict=True):
            assert len(prompt) <= max_length, f"the prompt of row {example.id} was not cut to fit"
            answer = [] if example.answer is None else next(answers)
            kept = answer[: max_length - len(prompt)]
            labels = [IGNORED] * len(prompt) + kept
            tokens = Tokens(tuple(prompt + kept), tuple(labels))
            rows.append(Row(example.id, (tokens,), truncated=len(answer) - len(kept)))
        return rows

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
    """An answer's token ids with the end of its turn."""
    return answers_ids(tokenizer, [answer], own_template)[0]


def answers_ids(tokenizer: Any, answers: Sequence[str], own_template: bool = True) -> list[list[int]]:
    """Each answer's token ids with the end of its turn; in plain text a blank stands before it."""
    if not answers:
        return []
    end = end_of_turn_id(tokenizer, own_template)
    texts = [answer if own_template else f" {answer}" for answer in answers]
    found = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    return [[*ids, end] for ids in found]


def row_sums(losses: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """`[rows]` sums of consecutive runs of `losses`, detached."""
    return torch.stack([part.sum() for part in losses.detach().split(sizes)])


def _supervised(sequence: Tokens) -> int:
    return sum(label != IGNORED for label in (sequence.labels or ())[1:])
