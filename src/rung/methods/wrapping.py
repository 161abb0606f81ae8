"""What methods that stand around a linear map have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from rung.errors import ConfigError, nearest
from rung.methods.adapted import Switch, replace
from rung.models.families import Family


class Wrapper(Switch):
    """A module in the place of a linear map, which it holds as `base`.

    Args:
        base: The map, or what an earlier run put around it.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    @property
    def weight(self) -> torch.Tensor:
        """The map's own, as it is stored: T5 looks at its dtype."""
        weight = self.base.weight
        assert isinstance(weight, torch.Tensor)
        return weight

    @property
    def inner(self) -> nn.Module:
        """The map itself, below all that stands around it."""
        return innermost(self.base)


def innermost(part: nn.Module) -> nn.Module:
    """The map below all wrappers."""
    while isinstance(part, Wrapper):
        part = part.base
    return part


def put(family: Family, path: str, wrapper: Wrapper) -> None:
    """Put a wrapper in the place of the map that it holds, on that map's device."""
    wrapper.to(wrapper.weight.device)
    replace(family.module, path, wrapper)


def wrapped_linears(family: Family) -> dict[str, nn.Module]:
    """The family's linear maps, each as the outermost wrapper that stands in its place."""
    wrapped = {path: part for path, part in family.module.named_modules() if isinstance(part, Wrapper)}
    outer = {path: part for path, part in wrapped.items() if not path.endswith(".base")}
    inside = tuple(path + "." for path in outer)
    bare = {path: part for path, part in family.linears().items() if not path.startswith(inside)}
    return bare | outer if inside else bare


def targets(family: Family, names: Literal["all-linear"] | Sequence[str]) -> dict[str, nn.Module]:
    """The linear maps that a method's `target_modules` means.

    Args:
        family: The model.
        names: Name endings, or all maps of the repeated blocks.

    Raises:
        ConfigError: A name matches no map; the nearest one is named.
    """
    linears = wrapped_linears(family)
    if names == "all-linear":
        return linears
    endings = sorted({path.rsplit(".", 1)[-1] for path in linears})
    for name in names:
        if not any(matches(path, (name,)) for path in linears):
            match = nearest(name, endings)
            guess = f" Did you mean {match!r}?" if match else ""
            raise ConfigError(
                f"method.target_modules={name!r} matches no linear map of this model.{guess}",
                f"Its linear maps end in: {', '.join(endings)}.",
            )
    return {path: part for path, part in linears.items() if matches(path, names)}


def matches(path: str, endings: Sequence[str]) -> bool:
    """Whether a path is one of the names, or ends in one."""
    return any(path == ending or path.endswith("." + ending) for ending in endings)
