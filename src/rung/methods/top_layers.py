"""The last blocks of the model are trained, those below stay as they are and are never run backward.

How deep to go: Lee et al. 2019, "What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning", arXiv 1911.03090.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from rung.errors import ConfigError
from rung.methods.base import WeightMethod
from rung.methods.own import OwnAdapted
from rung.models.facts import ModelFacts
from rung.models.families import Family


class TopLayers(WeightMethod):
    """Train all weights of the last blocks (Lee et al. 2019)."""

    type: Literal["top_layers"] = "top_layers"
    default_learning_rate: ClassVar[dict[str, float]] = {"encoder": 5e-4, "decoder": 2e-4}
    trains_model: ClassVar[bool] = True

    num_layers: int = Field(default=2, ge=1)
    """How many blocks, counted from the top."""

    def require(self, facts: ModelFacts, longest: int) -> None:
        """There must be so many blocks."""
        if facts.num_layers and facts.kind != "encoder_decoder":  # of whose two stacks only one is counted there
            self._require_blocks(facts.num_layers, facts.model_type)

    def _require_blocks(self, blocks: int, model_type: str) -> None:
        if self.num_layers > blocks:
            raise ConfigError(
                f"method.num_layers={self.num_layers}, and {model_type} has {blocks} blocks",
                "Take fewer, or method=full.",
            )

    def training_flops(self, body: int, trainable: int, tokens: int, epochs: float) -> float:
        """All of it forward; backward through the trained blocks alone."""
        return (2.0 * body + 4.0 * trainable) * tokens

    def attach(self, family: Family, head: nn.Module | None, seed: int) -> OwnAdapted:
        """Make the blocks' weights trainable; no new parameter exists, so the seed is not used."""
        layers = family.all_layers()
        self._require_blocks(len(layers), family.module.config.model_type)
        chosen = {id(value) for layer in layers[-self.num_layers :] for value in layer.parameters()}
        names = [name for name, value in family.module.named_parameters() if id(value) in chosen]
        return OwnAdapted(family, head, names, self.type)
