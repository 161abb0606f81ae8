"""(IA)^3: learned vectors rescale keys, values and the inner states of the feed-forward part.

Paper: Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", arXiv
2205.05638. Saved in PEFT's format.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from rung.methods.adapted import Adapted, replace
from rung.methods.adapter_config import TASK_TYPES
from rung.methods.base import WeightMethod
from rung.methods.wrapping import Wrapper, matches, put, targets
from rung.models.blocks import blocks
from rung.models.families import Family, shape_of, weight_of


class Rescaled(Wrapper):
    """A linear map whose output, or whose input, is multiplied by a learned vector of ones at first.

    Args:
        base: The frozen map.
        input: Whether its input is rescaled.
    """

    def __init__(self, base: nn.Module, input: bool) -> None:
        super().__init__(base)
        out_features, in_features = shape_of(self.inner)
        self.input = input
        # PEFT's shapes: a row for inputs, a column for outputs.
        self.ia3_l = nn.Parameter(torch.ones((1, in_features) if input else (out_features, 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[..., in]` to `[..., out]`; the product is taken in the vector's precision and rounded once."""
        if not self.enabled:
            return self.base(x)
        scale = self.ia3_l.flatten()
        if self.input:
            return self.base((x * scale).to(x.dtype))
        out = self.base(x)
        return (out * scale).to(out.dtype)


class Ia3Adapted(Adapted):
    """A model with rescaled keys, values and inner states."""

    def __init__(self, family: Family, head: nn.Module | None, layers: dict[str, Rescaled]) -> None:
        super().__init__(family, head, {f"{path}.ia3_l": layer.ia3_l for path, layer in layers.items()})
        self.layers = layers

    def switches(self) -> list[Rescaled]:
        """The rescaled maps."""
        return list(self.layers.values())

    def saved_name(self, name: str) -> str:
        """PEFT's name."""
        return f"base_model.model.{name}"

    def state(self) -> dict[str, torch.Tensor]:
        """The vectors under PEFT's names."""
        return {self.saved_name(name): value.detach() for name, value in self.own.items()}

    def describe(self) -> dict[str, object]:
        """PEFT's `adapter_config.json`."""
        return {
            "peft_type": "IA3",
            "task_type": TASK_TYPES[self.family.kind],
            "target_modules": sorted(self.layers),
            "feedforward_modules": sorted(path for path, layer in self.layers.items() if layer.input),
            "fan_in_fan_out": any(isinstance(layer.inner, Conv1D) for layer in self.layers.values()),
            "init_ia3_weights": True,
            "inference_mode": True,
        }

    def merge(self) -> None:
        """Multiply the vectors into the maps and remove them."""
        for path, layer in self.layers.items():
            base = layer.base
            assert not isinstance(base, Wrapper), "a chained adapter is never merged"
            weight, bias = weight_of(base), getattr(base, "bias", None)
            with torch.no_grad():
                weight.copy_((weight * layer.ia3_l).to(weight.dtype))
                if bias is not None and not layer.input:
                    bias.copy_((bias * layer.ia3_l.flatten()).to(bias.dtype))
            replace(self.family.module, path, base)


class Ia3(WeightMethod):
    """Rescale keys, values and the feed-forward part's inner states (Liu et al. 2022)."""

    type: Literal["ia3"] = "ia3"
    default_learning_rate: ClassVar[dict[str, float]] = {"encoder": 2e-2, "decoder": 2e-2}

    target_modules: tuple[str, ...] | None = None
    """Name endings of the maps to rescale; None = keys, values and the feed-forward outputs, found by structure."""
    feedforward_modules: tuple[str, ...] = ()
    """Those of them whose input is rescaled; with target_modules alone."""

    def attach(self, family: Family, head: nn.Module | None, seed: int) -> Ia3Adapted:
        """Freeze the model and put the vectors in; they start at one, so the seed is not used."""
        family.module.requires_grad_(False)
        layers: dict[str, Rescaled] = {}
        for path, input in self._targets(family).items():
            layers[path] = Rescaled(family.module.get_submodule(path), input)
            put(family, path, layers[path])
        return Ia3Adapted(family, head, layers)

    def _targets(self, family: Family) -> dict[str, bool]:
        """Path of each map to whether its input is rescaled."""
        if self.target_modules is not None:
            found = targets(family, self.target_modules)
            return {path: matches(path, self.feedforward_modules) for path in found}
        chosen: dict[str, bool] = {}
        for block in blocks(family):
            chosen |= dict.fromkeys((*block.keys, *block.values, *block.joined), False)
            chosen[block.feed_forward] = True
        return chosen
