"""LoRA: a trained low-rank term beside each frozen linear map.

Paper: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685. Options: rsLoRA
(`use_rslora`, Kalajdzievski 2023, arXiv 2312.03732), DoRA (`use_dora`) and PiSSA (`init_lora_weights: pissa`), whose
papers `rung.methods.lora_linear` names, and LoRA+ (`loraplus_lr_ratio`, Hayou et al. 2024, arXiv 2402.12354). Saved in
PEFT's format.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import nn
from transformers.pytorch_utils import Conv1D

from rung.compute.output import seeded
from rung.errors import ConfigError
from rung.methods.adapted import Adapted, replace
from rung.methods.adapter_config import TASK_TYPES
from rung.methods.base import WeightMethod
from rung.methods.lora_linear import DoraLinear, LoraLinear, PissaLinear
from rung.methods.mixed import Mixed
from rung.methods.wrapping import Wrapper, innermost, matches, put, targets
from rung.models.families import LINEAR, Family, shape_of, weight_of


class LoraAdapted(Adapted):
    """A model with LoRA beside its linear maps."""

    def __init__(self, family: Family, head: nn.Module | None, layers: dict[str, LoraLinear], settings: Lora) -> None:
        trainable = {
            f"{path}.lora_{part}.weight": value
            for path, layer in layers.items()
            for part, value in (("A", layer.lora_A), ("B", layer.lora_B))
        }
        lengths = {
            f"{path}.lora_magnitude_vector": layer.lora_magnitude_vector
            for path, layer in layers.items()
            if isinstance(layer, DoraLinear)
        }
        super().__init__(family, head, trainable | lengths)
        self.layers = layers
        self.settings = settings

    def switches(self) -> list[LoraLinear]:
        """The LoRA layers."""
        return list(self.layers.values())

    @property
    def rates(self) -> Mapping[str, float]:
        """LoRA+ trains `B` at a higher rate."""
        ratio = self.settings.loraplus_lr_ratio
        return {} if ratio is None else {name: ratio for name in self.own if name.endswith(".lora_B.weight")}

    def saved_name(self, name: str) -> str:
        """PEFT's name."""
        return f"base_model.model.{name}"

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors under PEFT's names; PiSSA's as a plain term of twice the rank, its start taken off."""
        own: dict[str, torch.Tensor] = dict(self.own)
        for path, layer in self.layers.items():
            if isinstance(layer, PissaLinear):
                own |= zip((f"{path}.lora_A.weight", f"{path}.lora_B.weight"), layer.pair(), strict=True)
        return {self.saved_name(name): value.detach() for name, value in own.items()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Set the weights; of a term that began as PiSSA's, its start too.

        Raises:
            KeyError: When names or shapes differ.
        """
        given = dict(tensors)
        for path, layer in self.layers.items():
            if not isinstance(layer, PissaLinear):
                continue
            starts = (("lora_A", layer.start_A, 1.0), ("lora_B", layer.start_B, -1.0))
            for axis, (part, start, sign) in enumerate(starts):
                name = self.saved_name(f"{path}.{part}.weight")
                if name in given and given[name].shape[axis] == 2 * start.shape[axis]:
                    given[name], taken_off = given[name].chunk(2, axis)
                    start.copy_(taken_off * sign)
        super().load(given)

    def describe(self) -> dict[str, object]:
        """PEFT's `adapter_config.json`."""
        settings = self.settings
        rank = settings.r * (2 if settings.init_lora_weights == "pissa" else 1)
        return {
            "peft_type": "LORA",
            "task_type": TASK_TYPES[self.family.kind],
            "r": rank,
            "lora_alpha": settings.scaling * (math.sqrt(rank) if settings.use_rslora else rank),
            "use_dora": settings.use_dora,
            "lora_dropout": self.settings.lora_dropout,
            "use_rslora": self.settings.use_rslora,
            "target_modules": self._targets(),
            "bias": "none",
            "fan_in_fan_out": any(isinstance(layer.inner, Conv1D) for layer in self.layers.values()),
            "init_lora_weights": True,
            "inference_mode": True,
        }

    def _targets(self) -> list[str]:
        """The shortest name endings that mean these layers and no other linear map of the model."""
        endings = sorted({path.rsplit(".", 1)[-1] for path in self.layers})
        others = [
            path
            for path, part in self.family.module.named_modules()
            if isinstance(part, LINEAR) and not path.endswith(".base") and matches(path, endings)
        ]
        return endings if not others else sorted(self.layers)

    def merge(self) -> None:
        """Fold the low-rank terms into the base weights (in their own dtype) and remove the layers."""
        for path, layer in self.layers.items():
            base = layer.base
            assert not isinstance(base, Wrapper), "a chained adapter is never merged"
            with torch.no_grad():
                weight_of(base).copy_(layer.merged())
            replace(self.family.module, path, base)


class Lora(WeightMethod):
    """Low-rank adaptation of every linear map (Hu et al. 2021)."""

    type: Literal["lora"] = "lora"
    default_learning_rate: ClassVar[dict[str, float]] = {"encoder": 2e-3, "decoder": 5e-4}

    r: int = Field(default=16, ge=1)
    """Rank of the added term."""
    lora_alpha: float = Field(default=32, gt=0)
    """The term is scaled by lora_alpha / r."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the term's input."""
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Name endings of the maps to adapt, or all of the repeated blocks'."""
    use_rslora: bool = False
    """Scale by lora_alpha / sqrt(r)."""
    use_dora: bool = False
    """Train the lengths of the weights' rows beside the term, which then gives their direction (DoRA)."""
    init_lora_weights: Literal[True, "pissa"] = True
    """pissa = start at the weights' largest singular vectors; true = start at nothing."""
    loraplus_lr_ratio: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The second matrix's learning rate over the first's (LoRA+; its authors take 16); None = the same."""

    @model_validator(mode="after")
    def _consistent(self) -> Lora:
        if self.use_dora and (self.lora_dropout or self.init_lora_weights == "pissa"):
            raise ValueError("use_dora goes with neither lora_dropout nor init_lora_weights=pissa")
        return self

    @property
    def scaling(self) -> float:
        """Factor on the low-rank term."""
        return self.lora_alpha / (math.sqrt(self.r) if self.use_rslora else self.r)

    def attach(self, family: Family, head: nn.Module | None, seed: int) -> LoraAdapted:
        """Freeze the model and put a `LoraLinear` around each target."""
        family.module.requires_grad_(False)
        return self.wrap(family, head, seed, None)

    def wrap(self, family: Family, head: nn.Module | None, seed: int, name: str | None) -> LoraAdapted:
        """Put the layers in, for all rows or (under a name) for the rows of a batch that name them."""
        layers: dict[str, LoraLinear] = {}
        for path, base in targets(family, self.target_modules).items():
            shape = shape_of(innermost(base))
            if self.r > min(shape):
                raise ConfigError(f"method.r={self.r} is larger than {path} {shape}", f"Take r={min(shape)} or less.")
            layer = self._layer(base.base if name is not None and isinstance(base, Mixed) else base)
            nn.init.kaiming_uniform_(layer.lora_A, a=math.sqrt(5), generator=seeded(seed, path))
            if isinstance(layer, PissaLinear):
                layer.begin(seed)
            layers[path] = layer
            if name is None:
                put(family, path, layer)
            else:
                mixed = base if isinstance(base, Mixed) else Mixed(base)
                mixed.layers[name] = layer.to(layer.weight.device)
                replace(family.module, path, mixed)
        return LoraAdapted(family, head, layers, self)

    def _layer(self, base: nn.Module) -> LoraLinear:
        kind = DoraLinear if self.use_dora else PissaLinear if self.init_lora_weights == "pissa" else LoraLinear
        return kind(base, self)
