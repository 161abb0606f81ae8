"""What every objective is: how an example becomes tokens, and what is learned from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from rung.config.base import Config
from rung.types import Batch, Example, HeadSpec, Loss, Prediction, Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    import torch
    from torch import nn

    from rung.models.families import Family
    from rung.tasks.base import Task
    from rung.types import Tokens


class Trained(Protocol):
    """What an objective may ask of an adapted model (see `rung.methods.adapted.Adapted`)."""

    @property
    def head(self) -> nn.Module | None:
        """The objective's output layer."""
        ...

    def states(self, sequences: Sequence[Tokens], positions: Sequence[Sequence[int]]) -> torch.Tensor:
        """`[P, H]` states at the positions."""
        ...

    def outputs(self, sequences: Sequence[Tokens], pooling: str) -> torch.Tensor:
        """`[sequences, outputs]` of the output layer over the pooled text."""
        ...

    def logprobs(self, sequences: Sequence[Tokens]) -> torch.Tensor:
        """`[P]` log-probabilities of the labels."""
        ...

    def disabled(self) -> AbstractContextManager[None]:
        """Within: the start of this run, the reference model of preference tuning."""
        ...


class Objective(Config, ABC):
    """What is learned. Owns the output layer, the encoding and the loss."""

    needs_head: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The objective's name: its type."""
        return str(self.model_dump()["type"])

    @abstractmethod
    def check(self, model_kind: str, task: str) -> None:
        """Refuse impossible pairs before any weight is loaded.

        Raises:
            IncompatibleError: With the reason.
        """

    def head(self, task: Task) -> HeadSpec | None:
        """The output layer this objective needs, or None."""
        return None

    def on(self, family: Family) -> Self:
        """The objective with what encoding needs to know of a model besides its tokenizer; nothing by default."""
        return self

    @abstractmethod
    def encode(self, example: Example, tokenizer: Any, max_length: int) -> Row:
        """An example as token ids and labels; cut rows say how much was cut."""

    def encode_all(self, examples: Sequence[Example], tokenizer: Any, max_length: int) -> list[Row]:
        """Examples as `encode` gives them; an objective that can ask the tokenizer for many at once does."""
        return [self.encode(example, tokenizer, max_length) for example in examples]

    def outputs(self, adapted: Trained, rows: Sequence[Row]) -> Sequence[torch.Tensor]:
        """Per row what the output layer says of it, whichever its shape (objectives with a head)."""
        raise NotImplementedError(f"{type(self).__name__} has no head to ask")

    def decode(self, row: Row, outputs: torch.Tensor, task: Task) -> Prediction:
        """What `outputs` gave for one row as a prediction (objectives with a head)."""
        raise NotImplementedError(f"{type(self).__name__} has no head to decode")

    @abstractmethod
    def counts(self, batch: Batch) -> Mapping[str, int]:
        """Per loss term what its sum is divided by; known before the forward pass."""

    @abstractmethod
    def loss(self, adapted: Trained, batch: Batch) -> Loss:
        """Sums and counts of every term for a micro-batch, and each row's own sum."""
