"""What every method is, and what a model becomes once a method is attached."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import nn

from rung.compute.head import logprobs
from rung.compute.pooling import pooled
from rung.compute.states import NOTHING, Additions, states, supervised
from rung.config.base import Config
from rung.errors import IncompatibleError
from rung.models.families import Family
from rung.types import Prediction, Prompt, Record, Tokens

if TYPE_CHECKING:
    from rung.tasks.base import Task


class Method(Config, ABC):
    """How a model is adapted. The config class is the choice: `{type: lora, r: 16}` builds it."""

    kind: ClassVar[str]
    """`prompt`, `weights` or `control`."""

    @property
    def name(self) -> str:
        """The method's name in tables: its type."""
        return str(self.model_dump()["type"])

    def check(self, model_kind: str, task: str) -> None:
        """Refuse what can't work, before any weight is loaded.

        Args:
            model_kind: `decoder`, `encoder`, `encoder_decoder`, `endpoint`, or `none` for controls.
            task: The task's type.

        Raises:
            IncompatibleError: With the reason.
        """
        if self.kind == "weights" and model_kind == "endpoint":
            raise IncompatibleError(
                f"method={self.name} changes weights, and an endpoint's weights can't be reached",
                "Use zero_shot, few_shot or prompt_search with it.",
            )


class Scorer(Protocol):
    """What a prompt method needs of a predictor: predictions of records under a prompt."""

    def predict(self, records: Sequence[Record], prompt: Prompt) -> list[Prediction]:
        """Predictions in the order of the records."""
        ...

    def count_tokens(self, record: Record, prompt: Prompt) -> int:
        """Tokens of the whole prompt for one record, and the longest answer."""
        ...

    @property
    def max_length(self) -> int:
        """Tokens the model can read."""
        ...


class PromptMethod(Method, ABC):
    """Leaves the weights alone and chooses a prompt."""

    kind: ClassVar[str] = "prompt"

    def check(self, model_kind: str, task: str) -> None:
        """An encoder has no way to read an instruction."""
        if model_kind == "encoder":
            raise IncompatibleError(
                f"method={self.name} prompts the model, and an encoder can't be prompted",
                "Use head_only, lora or full with an encoder, or a decoder with this method.",
            )

    @abstractmethod
    def fit(self, scorer: Scorer, task: Task, train: Sequence[Record], seed: int) -> Prompt:
        """Choose the prompt, looking at training records only.

        Args:
            scorer: Predicts under a candidate prompt.
            task: The task, with its default prompt.
            train: Labelled records to draw from.
            seed: Seed of every random choice.

        Returns:
            The prompt.
        """


class WeightMethod(Method, ABC):
    """Changes or adds weights."""

    kind: ClassVar[str] = "weights"
    default_learning_rate: ClassVar[float]
    needs_head: ClassVar[bool] = False
    """True when nothing is trained but the objective's output layer, so that there must be one."""
    frozen_trunk: ClassVar[bool] = False
    """True when the body's output never changes, so that its features can be computed once."""

    @abstractmethod
    def attach(self, family: Family, head: nn.Module | None, seed: int) -> Adapted:
        """Edit the model so that it can be trained; the only place where that is done.

        Args:
            family: The loaded model.
            head: The objective's output layer, always trainable, or None.
            seed: Seed of the new parameters.

        Returns:
            The adapted model, equal to the start until it is trained.
        """

    def chain(self, below: Adapted, head: nn.Module | None, seed: int) -> Adapted:
        """Attach on top of an earlier run's model, which stays below, frozen and never merged.

        Args:
            below: The earlier run's model.
            head: The objective's output layer, or None.
            seed: Seed of the new parameters.

        Returns:
            The adapted model; its `disabled()` is `below`, its `root()` the pretrained model.
        """
        for parameter in below.trainable.values():
            parameter.requires_grad_(False)
        adapted = self.attach(below.family, head, seed)
        adapted.below = below
        return adapted


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

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """Every parameter the optimizer steps, the head's under `head.`."""
        heads = {} if self.head is None else {f"head.{name}": value for name, value in self.head.named_parameters()}
        return self.own | heads

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
            for part in lower.switches():
                part.eval()
            lower = lower.below

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

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Set the weights from a weights file; strict in both directions.

        Raises:
            KeyError: When names or shapes differ.
        """
        own = {self.saved_name(name): value for name, value in self.own.items()}
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
