"""Bottleneck adapters: small two-layer networks, put into every block of a frozen model.

Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP", arXiv 1902.00751: two a block, one on the output
of attention and one on that of the feed-forward part (`houlsby`). Pfeiffer et al. 2020, "AdapterFusion", arXiv
2005.00247: the second alone (`pfeiffer`). He et al. 2022, "Towards a Unified View of Parameter-Efficient Transfer
Learning", arXiv 2110.04366: beside the feed-forward part, reading what it reads (`parallel`). PEFT has none of them:
the format is Rung's own (docs/methods.md).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import gelu, linear, relu, silu

from rung.compute.output import seeded
from rung.errors import ConfigError
from rung.methods.adapted import Adapted, Switch
from rung.methods.base import WeightMethod
from rung.methods.wrapping import Wrapper, put
from rung.models.blocks import blocks
from rung.models.families import Family

Style = Literal["houlsby", "pfeiffer", "parallel"]
NonLinearity = Literal["relu", "gelu", "swish", "tanh"]

_FUNCTIONS = {"relu": relu, "gelu": gelu, "swish": silu, "tanh": torch.tanh}
_SPREAD = 0.01
_PARALLEL_SCALING = 4.0
"""He et al.'s factor on a parallel adapter's output."""


class Bottleneck(nn.Module):
    """`scaling * (U f(D x + d) + u)`; `U` and `u` start at zero, so that it adds nothing at first.

    Args:
        settings: The method.
        width: Of the states.
        seed: Seed of `D`.
        name: The adapter's name: its start depends on it alone.
    """

    def __init__(self, settings: Adapter, width: int, seed: int, name: str) -> None:
        super().__init__()
        inner = settings.inner(width)
        self.function = _FUNCTIONS[settings.non_linearity]
        self.scaling = settings.factor
        self.down = nn.Linear(width, inner)
        self.up = nn.Linear(inner, width)
        nn.init.normal_(self.down.weight, std=_SPREAD, generator=seeded(seed, name))
        for part in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[..., H]` to `[..., H]`; the fp32 weights are used in the dtype of `x`."""
        inner = self.function(linear(x, self.down.weight.to(x.dtype), self.down.bias.to(x.dtype)))
        out = linear(inner, self.up.weight.to(x.dtype), self.up.bias.to(x.dtype))
        return out if self.scaling == 1.0 else out * self.scaling


class After(Wrapper):
    """A linear map with a bottleneck over its output."""

    def __init__(self, base: nn.Module, bottleneck: Bottleneck) -> None:
        super().__init__(base)
        self.bottleneck = bottleneck

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`y + bottleneck(y)` of the map's output `y`."""
        out = self.base(x)
        return out + self.bottleneck(out) if self.enabled else out


class Reader(Wrapper):
    """The first map of a feed-forward part: it hands on what it reads."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__(base)
        self.read: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The map's own output."""
        self.read = x if self.enabled else None
        return self.base(x)


class Beside(Wrapper):
    """The last map of a feed-forward part, with a bottleneck over what the whole part read."""

    def __init__(self, base: nn.Module, bottleneck: Bottleneck, reader: Reader) -> None:
        super().__init__(base)
        self.bottleneck = bottleneck
        self._reader = [reader]  # in a list: it is a part of the model already

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`y + bottleneck(r)` of the map's output `y` and the states `r` that were read."""
        out = self.base(x)
        if not self.enabled:
            return out
        reader = self._reader[0]
        read, reader.read = reader.read, None
        assert read is not None, "the feed-forward part's first map did not run before its last"
        return out + self.bottleneck(read)


class AdapterAdapted(Adapted):
    """A model with bottlenecks in its blocks."""

    def __init__(self, family: Family, head: nn.Module | None, wrappers: dict[str, Wrapper], settings: Adapter) -> None:
        own = {
            f"{path}.{name}": value
            for path, wrapper in wrappers.items()
            if isinstance(wrapper, After | Beside)
            for name, value in wrapper.bottleneck.named_parameters()
        }
        super().__init__(family, head, own)
        self.wrappers = wrappers
        self.settings = settings

    def switches(self) -> list[Switch]:
        """All that was put in."""
        return list(self.wrappers.values())

    def describe(self) -> dict[str, object]:
        """The settings; tensors stand under the path of the map whose output they are added to."""
        return {"rung_type": "adapter", **self.settings.model_dump(exclude={"type"})}


class Adapter(WeightMethod):
    """Bottleneck adapters (Houlsby 2019, Pfeiffer 2020, He 2022)."""

    type: Literal["adapter"] = "adapter"
    default_learning_rate: ClassVar[dict[str, float]] = {"encoder": 1e-2, "decoder": 1e-3}

    style: Style = "pfeiffer"
    """Where they stand: houlsby = after attention and after the feed-forward part, pfeiffer = after the latter alone,
    parallel = beside it."""
    reduction_factor: float = Field(default=16, gt=0)
    """The model's width over the bottleneck's."""
    non_linearity: NonLinearity = "relu"
    """What stands between the two layers."""
    scaling: float | None = Field(default=None, gt=0)
    """Factor on the output; None = 4 for parallel adapters, else 1."""

    @property
    def factor(self) -> float:
        """Factor on the output."""
        return self.scaling or (_PARALLEL_SCALING if self.style == "parallel" else 1.0)

    def default_rate(self, kind: str) -> float:
        """The factor divides it: a step moves the output by so much more, and four times the rate ends in one label."""
        return super().default_rate(kind) / self.factor

    def inner(self, width: int) -> int:
        """The bottleneck's width.

        Raises:
            ConfigError: There is nothing left of it.
        """
        inner = int(width / self.reduction_factor)
        if inner < 1:
            raise ConfigError(
                f"method.reduction_factor={self.reduction_factor:g} leaves nothing of a model {width} wide",
                f"Take a factor of at most {width}.",
            )
        return inner

    def attach(self, family: Family, head: nn.Module | None, seed: int) -> AdapterAdapted:
        """Freeze the model and put the bottlenecks in."""
        family.module.requires_grad_(False)
        width = family.module.config.hidden_size
        wrappers: dict[str, Wrapper] = {}

        def place(path: str, wrapper: Wrapper) -> None:
            put(family, path, wrapper)
            wrappers[path] = wrapper

        for block in blocks(family):
            outputs = [*block.attention, block.feed_forward] if self.style == "houlsby" else [block.feed_forward]
            for path in outputs:
                bottleneck = Bottleneck(self, width, seed, path)
                base = family.module.get_submodule(path)
                if self.style == "parallel":
                    reader = Reader(family.module.get_submodule(block.reader))
                    place(block.reader, reader)
                    place(path, Beside(base, bottleneck, reader))
                else:
                    place(path, After(base, bottleneck))
        return AdapterAdapted(family, head, wrappers, self)
