"""Head only: the body stays frozen and its features are computed once; only the output layer is trained.

Known as linear probing: Alain & Bengio 2016, arXiv 1610.01644.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import nn

from rung.methods.adapted import Adapted
from rung.methods.base import WeightMethod
from rung.models.families import Family
from rung.types import Tokens

FEATURE_BATCH = 64
"""Texts per forward pass when features are computed once; fixed, so that a resumed run gets the same bytes."""


class HeadOnlyAdapted(Adapted):
    """A frozen body under a trained output layer: every text goes through the body once."""

    def __init__(self, family: Family, head: nn.Module | None) -> None:
        super().__init__(family, head)
        self._prepared: dict[Tokens, torch.Tensor] = {}
        self._seen: dict[tuple[Tokens, ...], torch.Tensor] = {}

    def prepare(self, sequences: Sequence[Tokens], pooling: str) -> None:
        """Compute the features of the training texts, shortest first, in batches of fixed size."""
        ordered = sorted(dict.fromkeys(sequences), key=lambda sequence: (len(sequence), sequence.input_ids))
        for at in range(0, len(ordered), FEATURE_BATCH):
            batch = ordered[at : at + FEATURE_BATCH]
            self._prepared.update(zip(batch, self._compute(batch, pooling), strict=True))

    def features(self, sequences: Sequence[Tokens], pooling: str) -> torch.Tensor:
        """Looked up: prepared texts one by one in training, whole batches in evaluation.

        The two are kept apart because a text's bits depend on the batch it was computed in.
        """
        assert self.head is not None
        if self.head.training and self._prepared:
            return torch.stack([self._prepared[sequence] for sequence in sequences])
        batch = tuple(sequences)
        if batch not in self._seen:
            self._seen[batch] = self._compute(batch, pooling)
        return self._seen[batch]

    def _compute(self, sequences: Sequence[Tokens], pooling: str) -> torch.Tensor:
        with torch.no_grad():
            return super().features(sequences, pooling)


class HeadOnly(WeightMethod):
    """Train the objective's output layer on frozen features."""

    type: Literal["head_only"] = "head_only"
    default_learning_rate: ClassVar[float] = 1e-2
    default_epochs: ClassVar[float] = 20.0
    needs_head: ClassVar[bool] = True

    def training_flops(self, body: int, trainable: int, tokens: int, epochs: float) -> float:
        """The body runs forward once, whatever the passes; the output layer's share is left out."""
        return 2.0 * body * tokens / epochs

    def attach(self, family: Family, head: nn.Module | None, seed: int) -> HeadOnlyAdapted:
        """Freeze the body."""
        assert head is not None, "refused before (see `rung.run.validate`)"
        family.module.requires_grad_(False)
        return HeadOnlyAdapted(family, head)
