"""What objectives have in common whose answers are texts: how a model is asked, and how it answers, token by token."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from rung.objectives.base import Objective, Trained
from rung.types import IGNORED, Batch, Example, Loss, Message, Row, Term, Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Request:
    """A turn that is learned, in which row, and what comes before it; `reply` is None where there is no answer yet."""

    row: int
    example: Example
    before: tuple[Message, ...]
    reply: Message | None


def requests(row: int, example: Example) -> list[Request]:
    """Every turn that is learned, in order, the answer last."""
    turns = example.messages
    earlier = [Request(row, example, turns[:at], turn) for at, turn in enumerate(turns) if turn.learned]
    answer = None if example.answer is None else Message("assistant", example.answer)
    return [*earlier, Request(row, example, turns, example.reply or answer)]


class Worded(Objective):
    """Likelihood of answers that are texts. Untrained models are asked by the words of one of these too."""

    @abstractmethod
    def prompts(self, tokenizer: Any, examples: Sequence[Example]) -> list[list[int]]:
        """Token ids by which a model is asked for each example's answer."""

    @abstractmethod
    def answers(self, tokenizer: Any, texts: Sequence[str], own_template: bool = True) -> list[list[int]]:
        """Token ids of answers, the token that ends each last; in the model's own chat template or in plain text."""

    @abstractmethod
    def end(self, tokenizer: Any, own_template: bool = True) -> int:
        """The token that ends an answer."""

    @abstractmethod
    def text(self, tokenizer: Any, ids: Sequence[int], own_template: bool = True) -> str:
        """An answer's token ids, without the one that ended it, as text."""

    @abstractmethod
    def room(self, longest: int, answer: int) -> int:
        """Tokens there are for a prompt.

        Args:
            longest: Tokens a row may have.
            answer: Tokens of the longest answer.
        """

    @abstractmethod
    def require_room(self, max_new_tokens: int, longest: int) -> None:
        """Refuse answers that don't fit.

        Raises:
            ConfigError: With what would fit.
        """

    @abstractmethod
    def sequence(self, prompt: Sequence[int], answer: Sequence[int], longest: int) -> Tokens:
        """A prompt and its supervised answer, which loses its end where it does not fit."""

    def encode(self, example: Example, tokenizer: Any, max_length: int) -> Row:
        """The prompt and the answer with its end, which alone are supervised.

        The prompt has been cut to fit before (see `rung.tasks.fitting`). An answer that is longer than the rest loses
        its end, and the token that ends it: nobody is taught to stop in the middle.
        """
        return self.encode_all([example], tokenizer, max_length)[0]

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """Supervised tokens."""
        return {self.name: sum(self.supervised(sequence) for sequence in batch.sequences)}

    def loss(self, adapted: Trained, batch: Batch) -> Loss:
        """Negative log-likelihood of the supervised tokens."""
        losses = -adapted.logprobs(batch.sequences)
        return Loss(
            {self.name: Term(losses.sum(), len(losses))},
            row_sums(losses, [sum(self.supervised(one) for one in row.sequences) for row in batch.rows]),
        )

    def supervised(self, sequence: Tokens) -> int:
        """Positions of a sequence that are learned."""
        return sum(label != IGNORED for label in sequence.labels or ())


def row_sums(losses: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """`[rows]` sums of consecutive runs of `losses`, detached."""
    return torch.stack([part.sum() for part in losses.detach().split(sizes)])
