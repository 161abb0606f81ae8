"""Head only: the body stays frozen and its features are computed once; only the output layer is trained.

Known as linear probing: Alain & Bengio 2016, arXiv 1610.01644.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Literal

import torch
from torch import nn

from rung.compute.features import FeatureStore, body_hash
from rung.errors import IncompatibleError
from rung.methods.adapted import Adapted
from rung.methods.base import WeightMethod
from rung.models.families import Family
from rung.types import Tokens

FEATURE_BATCH = 64
"""Texts per forward pass when features are computed once; fixed, so that a resumed run gets the same bytes."""
FILE_BATCHES = 64
"""Batches per file: what a killed run computes again at most."""
REQUEST = 8
"""Fewer texts than this are a request or a check of one, and are always computed."""


class HeadOnlyAdapted(Adapted):
    """A frozen body under a trained output layer: every text of a run goes through the body once."""

    def __init__(self, family: Family, head: nn.Module | None) -> None:
        super().__init__(family, head)
        self._store: FeatureStore | None = None
        self._prepared: list[torch.Tensor] = []
        self._numbers: dict[Tokens, int] = {}
        self._seen: dict[tuple[Tokens, ...], torch.Tensor] = {}

    def prepare(self, sequences: Sequence[Tokens], pooling: str) -> None:
        """Compute the features of the training texts, shortest first, in batches of fixed size, or find them on disk.

        From here on what is evaluated is kept as well.
        """
        self._store = FeatureStore(self._body())
        ordered = sorted(dict.fromkeys(sequences), key=lambda sequence: (len(sequence), sequence.input_ids))
        self._numbers = {sequence: number for number, sequence in enumerate(ordered)}
        batches = [ordered[at : at + FEATURE_BATCH] for at in range(0, len(ordered), FEATURE_BATCH)]
        self._prepared = [
            self._store.features(batches[at : at + FILE_BATCHES], pooling, lambda batch: self._compute(batch, pooling))
            for at in range(0, len(batches), FILE_BATCHES)
        ]

    def features(self, sequences: Sequence[Tokens], pooling: str) -> torch.Tensor:
        """Looked up: prepared texts one by one in training, whole batches in evaluation.

        The two are kept apart because a text's bits depend on the batch it was computed in.
        """
        assert self.head is not None
        device = self.family.embedding.weight.device
        if self.head.training and self._numbers:
            places = [divmod(self._numbers[one], FEATURE_BATCH * FILE_BATCHES) for one in sequences]
            return torch.stack([self._prepared[file][row] for file, row in places]).to(device)
        if self._store is None or len(sequences) < REQUEST:
            return self._compute(sequences, pooling)
        batch = tuple(sequences)
        if batch not in self._seen:
            self._seen[batch] = self._store.features([batch], pooling, lambda batch: self._compute(batch, pooling))
        # A copy, in memory aligned as any other: a mapped tensor may be multiplied by another kernel.
        return self._seen[batch].to(device, copy=True)

    @contextmanager
    def root(self) -> Iterator[None]:
        """Within: the pretrained model. Where earlier runs lie between, its features are others: nothing is kept."""
        store = self._store
        if self.below is not None:
            self._store = None
        try:
            with super().root():
                yield
        finally:
            self._store = store

    def _compute(self, sequences: Sequence[Tokens], pooling: str) -> torch.Tensor:
        with torch.no_grad():
            return super().features(sequences, pooling)

    def _body(self) -> str:
        """The identity of the frozen body, with what earlier runs put on it."""
        tensors: dict[str, torch.Tensor] = {}
        described: list[object] = []
        lower = self.below
        while lower is not None:
            tensors |= {f"{len(described)}.{name}": value for name, value in lower.own.items()}
            described.append([type(lower).__name__, lower.describe()])
            lower = lower.below
        return body_hash(self.family, tensors, described)


class HeadOnly(WeightMethod):
    """Train the objective's output layer on frozen features."""

    type: Literal["head_only"] = "head_only"
    default_learning_rate: ClassVar[dict[str, float]] = {"encoder": 3e-2, "decoder": 1e-2}
    default_epochs: ClassVar[float] = 20.0
    needs_head: ClassVar[bool] = True

    def check(self, model_kind: str, task: str) -> None:
        """An output layer needs one stack of layers to stand on."""
        super().check(model_kind, task)
        if model_kind == "encoder_decoder":
            raise IncompatibleError(
                "method=head_only reads a text off one stack of layers, and an encoder-decoder has two",
                "Use lora or full, which teach it to write the label, or an encoder.",
            )

    def training_flops(self, body: int, trainable: int, tokens: int, epochs: float) -> float:
        """The body runs forward once, whatever the passes; the output layer's share is left out."""
        return 2.0 * body * tokens / epochs

    def attach(self, family: Family, head: nn.Module | None, seed: int) -> HeadOnlyAdapted:
        """Freeze the body."""
        assert head is not None, "refused before (see `rung.run.validate`)"
        family.module.requires_grad_(False)
        return HeadOnlyAdapted(family, head)
