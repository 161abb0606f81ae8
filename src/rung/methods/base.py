"""What every method is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from torch import nn

from rung.config.base import Config
from rung.errors import IncompatibleError
from rung.methods.adapted import Adapted
from rung.models.facts import ModelFacts
from rung.models.families import Family
from rung.types import Prediction, Prompt, Record

if TYPE_CHECKING:
    from rung.methods.tuning import Tuning
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
    def fit(
        self, scorer: Scorer, task: Task, train: Sequence[Record], seed: int, tuning: Tuning | None = None
    ) -> Prompt:
        """Choose the prompt, looking at training and validation records only.

        Args:
            scorer: Predicts under a candidate prompt.
            task: The task, with its default prompt.
            train: Labelled records to draw from.
            seed: Seed of every random choice.
            tuning: What candidates are compared with; None = nothing is compared, the first candidate is taken.

        Returns:
            The prompt.
        """

    def rivals(
        self, scorer: Scorer, task: Task, train: Sequence[Record], seed: int, tuning: Tuning
    ) -> Mapping[str, Prompt]:
        """Prompts by name that the choice is to be held against on the test rows; asked for after `fit`."""
        return {}


class WeightMethod(Method, ABC):
    """Changes or adds weights."""

    kind: ClassVar[str] = "weights"
    trains_model: ClassVar[bool] = False
    """Whether the model's own weights move, so that their full precision is wanted."""
    default_learning_rate: ClassVar[dict[str, float]]
    """The peak rate by the model's kind, `encoder` or `decoder` (docs/learning_rates.md says how they were found)."""
    default_epochs: ClassVar[float] = 3.0
    needs_head: ClassVar[bool] = False
    """True when nothing is trained but the objective's output layer, so that there must be one."""

    def default_rate(self, kind: str) -> float:
        """The peak learning rate where none was asked for, on a model of a kind."""
        return self.default_learning_rate["encoder" if kind == "encoder" else "decoder"]

    @property
    def virtual_tokens(self) -> int:
        """Positions of the model's context that the method takes for itself."""
        return 0

    def require(self, facts: ModelFacts, longest: int) -> None:
        """Refuse a model for what its folder says of it, before any weight is loaded.

        Args:
            facts: The model's.
            longest: Tokens that a row may have.

        Raises:
            IncompatibleError: The method has nothing to work on there.
            ConfigError: A setting does not fit the model.
        """

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

    def training_flops(self, body: int, trainable: int, tokens: int, epochs: float) -> float:
        """Arithmetic of training, as if every token of every row were computed once a pass.

        Forward and the gradient of the states cost 2 each per weight of the body and token; what is added costs 6.

        Args:
            body: Weights of the repeated blocks.
            trainable: Trained parameters.
            tokens: Row tokens over all passes.
            epochs: Passes.
        """
        return (4.0 * body + 6.0 * trainable) * tokens

    def chain(self, below: Adapted, head: nn.Module | None, seed: int) -> Adapted:
        """Attach on top of an earlier run's model, which stays below, frozen and never merged.

        Args:
            below: The earlier run's model.
            head: The objective's output layer, or None.
            seed: Seed of the new parameters.

        Returns:
            The adapted model; its `disabled()` is `below`, its `root()` the pretrained model.

        Raises:
            IncompatibleError: Both put virtual tokens before every text.
        """
        if self.virtual_tokens and (below.additions.virtual or below.additions.prefixes):
            raise IncompatibleError(
                f"method={self.name} puts virtual tokens before every text, and the earlier run did so already",
                "Train a lora or an adapter on top of it, or start from the pretrained model.",
            )
        for parameter in below.trainable.values():
            parameter.requires_grad_(False)
        adapted = self.attach(below.family, head, seed)
        adapted.below = below
        return adapted
