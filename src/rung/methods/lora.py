"""LoRA: a trained low-rank term beside each frozen linear map.

Paper: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685.
rsLoRA (`use_rslora`): Kalajdzievski 2023, arXiv 2312.03732. Saved in PEFT's format.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import dropout, linear

from rung.compute.attention import current
from rung.compute.lowrank import lowrank_linear
from rung.compute.output import seeded
from rung.errors import ConfigError, nearest
from rung.methods.adapted import Adapted, Switch, replace
from rung.methods.base import WeightMethod
from rung.models.families import LINEAR, Family, weight_of


class LoraLinear(Switch):
    """`base(x) + scaling * B A x`; `A` and `B` are kept in fp32 and used in the dtype of `x`.

    Args:
        base: The frozen map (or a `LoraLinear` of an earlier run).
        settings: The method.
        name: The adapter's name, by which sequences of a batch may choose it; None = the active one.
    """

    def __init__(self, base: nn.Module, settings: Lora, name: str | None = None) -> None:
        super().__init__()
        self.base = base
        self.name = name
        self.dropout = settings.lora_dropout
        self.scaling = settings.scaling
        out_features, in_features = _shape(base)
        self.lora_A = nn.Parameter(torch.empty(settings.r, in_features))
        self.lora_B = nn.Parameter(torch.zeros(out_features, settings.r))

    @property
    def weight(self) -> torch.Tensor:
        """The frozen map's own, as it is stored: T5 looks at its dtype."""
        weight = self.base.weight
        assert isinstance(weight, torch.Tensor)
        return weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[..., in]` to `[..., out]`."""
        ranges = self._ranges()
        if ranges is None and self._fuses(x):
            weight, bias = weight_of(self.base), getattr(self.base, "bias", None)
            return lowrank_linear(x, weight, bias, (self.lora_A, self.lora_B), self.scaling)
        out = self.base(x)
        if ranges is None:
            return out + self._delta(x) if self.enabled and self.name is None else out
        pieces = [
            out[:, start:end] + self._delta(x[:, start:end]) if mine else out[:, start:end]
            for mine, start, end in ranges
        ]
        return torch.cat(pieces, dim=1)

    def _fuses(self, x: torch.Tensor) -> bool:
        """Whether base and term are one step: both of them plain, the base frozen and of the input's dtype."""
        if not self.enabled or self.name is not None or (self.training and self.dropout):
            return False
        if not isinstance(self.base, LINEAR) or self.base.weight.dtype != x.dtype:
            return False
        bias = getattr(self.base, "bias", None)
        return not self.base.weight.requires_grad and (bias is None or not bias.requires_grad)

    def _ranges(self) -> list[tuple[bool, int, int]] | None:
        """Flat ranges and whether each is this adapter's; None when the batch names no adapter."""
        state = current()
        if state is None or all(name is None for name, _, _ in state.plan.adapters):
            return None
        return [(self.enabled and name == self.name, start, end) for name, start, end in state.plan.adapters]

    def _delta(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and self.dropout:
            x = dropout(x, self.dropout)
        down = linear(x, self.lora_A.to(x.dtype))
        return linear(down, self.lora_B.to(x.dtype)) * self.scaling


def _shape(base: nn.Module) -> tuple[int, int]:
    if isinstance(base, LoraLinear):
        return _shape(base.base)
    out_features, in_features = weight_of(base).shape
    return out_features, in_features


class LoraAdapted(Adapted):
    """A model with LoRA beside its linear maps."""

    def __init__(self, family: Family, head: nn.Module | None, layers: dict[str, LoraLinear], settings: Lora) -> None:
        trainable = {
            f"{path}.lora_{part}.weight": value
            for path, layer in layers.items()
            for part, value in (("A", layer.lora_A), ("B", layer.lora_B))
        }
        super().__init__(family, head, trainable)
        self.layers = layers
        self.settings = settings

    def switches(self) -> list[LoraLinear]:
        """The LoRA layers."""
        return list(self.layers.values())

    def saved_name(self, name: str) -> str:
        """PEFT's name."""
        return f"base_model.model.{name}"

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors under PEFT's names."""
        return {self.saved_name(name): value.detach() for name, value in self.own.items()}

    def describe(self) -> dict[str, object]:
        """PEFT's `adapter_config.json`."""
        return {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM" if self.family.kind == "decoder" else "FEATURE_EXTRACTION",
            "r": self.settings.r,
            "lora_alpha": self.settings.lora_alpha,
            "lora_dropout": self.settings.lora_dropout,
            "use_rslora": self.settings.use_rslora,
            "target_modules": self._targets(),
            "bias": "none",
            "fan_in_fan_out": any(type(layer.base).__name__ == "Conv1D" for layer in self.layers.values()),
            "init_lora_weights": True,
            "inference_mode": True,
        }

    def _targets(self) -> list[str]:
        """The shortest name endings that mean these layers and no other linear map of the model."""
        endings = sorted({path.rsplit(".", 1)[-1] for path in self.layers})
        others = [
            path
            for path, part in self.family.module.named_modules()
            if isinstance(part, LINEAR) and not path.endswith(".base") and _matches(path, endings)
        ]
        return endings if not others else sorted(self.layers)

    def merge(self) -> None:
        """Fold the low-rank terms into the base weights (in their own dtype) and remove the layers."""
        for path, layer in self.layers.items():
            base = layer.base
            assert not isinstance(base, LoraLinear), "a chained adapter is never merged"
            weight = weight_of(base)
            wide = torch.promote_types(weight.dtype, torch.float32)
            delta = (layer.lora_B.to(wide) @ layer.lora_A.to(wide)) * layer.scaling
            with torch.no_grad():
                weight.copy_(weight + delta)
            replace(self.family.module, path, base)


class Lora(WeightMethod):
    """Low-rank adaptation of every linear map (Hu et al. 2021)."""

    type: Literal["lora"] = "lora"
    default_learning_rate: ClassVar[float] = 5e-4

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

    @property
    def scaling(self) -> float:
        """Factor on the low-rank term."""
        return self.lora_alpha / (math.sqrt(self.r) if self.use_rslora else self.r)

    def attach(self, family: Family, head: nn.Module | None, seed: int) -> LoraAdapted:
        """Freeze the model and put a `LoraLinear` around each target."""
        family.module.requires_grad_(False)
        return self.wrap(family, head, seed, None)

    def wrap(self, family: Family, head: nn.Module | None, seed: int, name: str | None) -> LoraAdapted:
        """Put the layers in under an adapter name (None = the active one)."""
        layers: dict[str, LoraLinear] = {}
        for path, base in self._targets(family).items():
            layer = LoraLinear(base, self, name)
            if self.r > min(_shape(base)):
                raise ConfigError(f"method.r={self.r} is larger than {path} ({_shape(base)})", "Take a smaller r.")
            nn.init.kaiming_uniform_(layer.lora_A, a=math.sqrt(5), generator=seeded(seed, path))
            layer.to(weight_device(base))
            replace(family.module, path, layer)
            layers[path] = layer
        return LoraAdapted(family, head, layers, self)

    def _targets(self, family: Family) -> dict[str, nn.Module]:
        linears = wrapped_linears(family)
        if self.target_modules == "all-linear":
            return linears
        chosen = {path: part for path, part in linears.items() if _matches(path, self.target_modules)}
        names = sorted({path.rsplit(".", 1)[-1] for path in linears})
        for target in self.target_modules:
            if not any(_matches(path, (target,)) for path in linears):
                match = nearest(target, names)
                guess = f" Did you mean {match!r}?" if match else ""
                raise ConfigError(
                    f"method.target_modules={target!r} matches no linear map of this model.{guess}",
                    f"Its linear maps end in: {', '.join(names)}.",
                )
        return chosen


def wrapped_linears(family: Family) -> dict[str, nn.Module]:
    """The family's linear maps, each as the outermost LoRA layer that stands in its place."""
    wrapped = {path: part for path, part in family.module.named_modules() if isinstance(part, LoraLinear)}
    outer = {path: part for path, part in wrapped.items() if not path.endswith(".base")}
    inside = tuple(path + "." for path in outer)
    bare = {path: part for path, part in family.linears().items() if not path.startswith(inside)}
    return bare | outer if inside else bare


def weight_device(base: nn.Module) -> torch.device:
    """Where a map's weights are."""
    return next(base.parameters()).device


def _matches(path: str, endings: Sequence[str]) -> bool:
    return any(path == ending or path.endswith("." + ending) for ending in endings)
