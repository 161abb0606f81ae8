"""What a model becomes once a method is attached: all that objectives, predictors and artifacts see of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rung.compute.head import logprobs
from rung.compute.pooling import pooled
from rung.compute.scoring import Question, scores
from rung.compute.states import NOTHING, Additions, states, supervised
from rung.models.families import Family
from rung.types import Tokens


class Switch(nn.Module):
    """A module that a method puts in: `disabled()` turns it off, and the model is as it was."""

    enabled: bool = True


class Adapted:
    """A model with a method attached. Objectives see only this.

    Args:
        family: The model.
        head: The objective's output layer, or None.
        trainable: Name to parameter, in the names they are saved under; the head's come on top.
        below: What this was attached to (an earlier run's adapted model), or None for the pretrained model.
    """

    weights_file: ClassVar[str] = "adapter_model.safetensors"

    def __init__(
        self,
        family: Family,
        head: nn.Module | None = None,
        trainable: Mapping[str, nn.Parameter] | None = None,
        below: Adapted | None = None,
    ) -> None:
        self.family = family
        self.head = head
        self.own = dict(trainable or {})
        self.below = below
        self.precise: Mapping[str, torch.Tensor] = {}
        """Trained weights by name before they were rounded, where they were."""

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """Every parameter the optimizer steps, the head's under `head.`."""
        heads = {} if self.head is None else {f"head.{name}": value for name, value in self.head.named_parameters()}
        return self.own | heads

    @property
    def rates(self) -> Mapping[str, float]:
        """Factors on the learning rate of single weights, by name; 1 where none is given."""
        return {}

    @property
    def additions(self) -> Additions:
        """Virtual tokens and prefixes of this method; nothing by default."""
        return NOTHING if self.below is None else self.below.additions

    def states(self, sequences: Sequence[Tokens], positions: Sequence[Sequence[int]]) -> torch.Tensor:
        """`[P, H]` states of the last layer at the positions asked for, sequence by sequence."""
        return states(self.family, sequences, positions, self.additions)

    def logprobs(self, sequences: Sequence[Tokens]) -> torch.Tensor:
        """`[P]` log-probability of every supervised label, sequence by sequence."""
        shift = 1 if self.family.kind == "decoder" else 0
        positions, labels = supervised(sequences, shift)
        hidden = self.family.transform(self.states(sequences, positions))
        output = self.family.output
        assert isinstance(output, nn.Linear), "this model has no output layer over the vocabulary"
        return logprobs(
            hidden,
            output.weight,
            torch.tensor(labels, device=hidden.device),
            self.family.output_bias,
            self.family.softcap,
            self.family.logit_scale,
        )

    def scores(self, questions: Sequence[Question]) -> list[NDArray[np.float64]]:
        """Per question the log-probability of each of its answers; no gradient runs through them."""
        with torch.no_grad():
            return scores(self.family, questions, self.additions)

    def features(self, sequences: Sequence[Tokens], pooling: str) -> torch.Tensor:
        """`[sequences, H]` one vector per text."""
        if pooling == "pooler":
            return self.family.pool(pooled(self.states, sequences, "cls"))
        return pooled(self.states, sequences, pooling)

    def outputs(self, sequences: Sequence[Tokens], pooling: str) -> torch.Tensor:
        """`[sequences, outputs]` of the output layer."""
        assert self.head is not None, "this objective has no output layer"
        return self.head(self.features(sequences, pooling))

    def prepare(self, sequences: Sequence[Tokens], pooling: str) -> None:
        """Called once with all training texts before the first step; methods with a frozen body cache here."""

    def training(self, model_dropout: bool) -> None:
        """Switch to training: the output layer and what the method put in; a frozen body never drops anything."""
        for part in (self.head, *self.switches()):
            if part is not None:
                part.train()
        lower = self.below
        while lower is not None:
            # what this method wraps went along with it
            lower.resting()
            lower = lower.below

    def resting(self) -> None:
        """What this method put in drops nothing while a method above it trains."""
        for part in self.switches():
            part.eval()

    def evaluating(self) -> None:
        """Switch to evaluation."""
        self.family.module.eval()
        if self.head is not None:
            self.head.eval()

    def switches(self) -> Sequence[Switch]:
        """What this method put in."""
        return []

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Within: the start of this run, bit for bit (the reference model of preference tuning)."""
        before = [(module, module.enabled) for module in self.switches()]
        for module, _ in before:
            module.enabled = False
        try:
            yield
        finally:
            for module, enabled in before:
                module.enabled = enabled

    @contextmanager
    def root(self) -> Iterator[None]:
        """Within: the pretrained model, whatever runs came before."""
        with ExitStack() as stack:
            stack.enter_context(self.disabled())
            if self.below is not None:
                stack.enter_context(self.below.root())
            yield

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors of the artifact's weights file, without the head's."""
        return {name: value.detach() for name, value in self.own.items()}

    def describe(self) -> dict[str, object] | None:
        """The content of `adapter_config.json`, or None where there is none."""
        return None

    def held(self) -> Mapping[str, torch.Tensor]:
        """The tensors that a weights file sets, under the names they have there."""
        return {self.saved_name(name): value for name, value in self.own.items()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Set the weights from a weights file; strict in both directions.

        Raises:
            KeyError: When names or shapes differ.
        """
        own = self.held()
        if set(own) != set(tensors):
            raise KeyError(
                f"missing {sorted(set(own) - set(tensors))[:3]}, unknown {sorted(set(tensors) - set(own))[:3]}"
            )
        unlike = [name for name, value in own.items() if value.shape != tensors[name].shape]
        if unlike:
            found, wanted = tuple(tensors[unlike[0]].shape), tuple(own[unlike[0]].shape)
            raise KeyError(f"{unlike[0]} has shape {found}, wanted {wanted}")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(tensors[name])

    def saved_name(self, name: str) -> str:
        """The name a trainable has in the weights file."""
        return name


def replace(root: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module at a path inside another."""
    parent, _, leaf = path.rpartition(".")
    setattr(root.get_submodule(parent), leaf, module)
