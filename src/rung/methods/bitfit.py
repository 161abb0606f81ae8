"""BitFit: of the model's own weights only the biases of its blocks are trained.

Paper: Ben Zaken et al. 2021, "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
Language-models", arXiv 2106.10199.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import ClassVar, Literal

from torch import nn

from rung.errors import IncompatibleError
from rung.methods.base import WeightMethod
from rung.methods.own import OwnAdapted
from rung.models.facts import ModelFacts, tensor_names
from rung.models.families import Family

_BLOCKS = ("layer", "layers", "h", "block", "blocks")
"""What architectures call the list of their blocks."""


class BitFit(WeightMethod):
    """Train the biases of the repeated blocks (Ben Zaken et al. 2021)."""

    type: Literal["bitfit"] = "bitfit"
    default_learning_rate: ClassVar[dict[str, float]] = {"encoder": 5e-3, "decoder": 1e-3}
    trains_model: ClassVar[bool] = True

    def require(self, facts: ModelFacts, longest: int) -> None:
        """Many architectures have no biases to train."""
        if facts.path is not None:
            _biases(tensor_names(facts.path), facts.model_type)

    def attach(self, family: Family, head: nn.Module | None, seed: int) -> OwnAdapted:
        """Make the biases trainable; no new parameter exists, so the seed is not used."""
        names = [name for name, _ in family.module.named_parameters()]
        return OwnAdapted(family, head, _biases(names, family.module.config.model_type), self.type)


def _biases(names: Iterable[str], model_type: str) -> list[str]:
    """Those of the repeated blocks: under a list of blocks, by a number.

    Raises:
        IncompatibleError: There are none.
    """
    found = []
    for name in names:
        parts = name.split(".")
        inside = any(part in _BLOCKS and after.isdecimal() for part, after in pairwise(parts))
        if inside and parts[-1] == "bias":
            found.append(name)
    if not found:
        raise IncompatibleError(
            f"method=bitfit trains biases, and the blocks of {model_type} have none",
            "Use ia3, which is as small, or lora.",
        )
    return found
