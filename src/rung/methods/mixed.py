"""Rows of one batch through adapters of their own, beside one frozen map."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from rung.compute.attention import current
from rung.methods.lora_linear import LoraLinear
from rung.methods.wrapping import Wrapper


class Mixed(Wrapper):
    """A map with several LoRAs beside it: all rows meet the map in one product, each its own adapter after it.

    Which adapter a row runs through is read from the plan (see `rung.types.Tokens.adapter`); a row that names none, or
    one that does not touch this map, gets the map's own output.

    Args:
        base: The frozen map, or what an earlier run put around it.
        layers: Adapter name to its layer, which holds the same map; more may be put in later.
    """

    def __init__(self, base: nn.Module, layers: Mapping[str, LoraLinear] | None = None) -> None:
        super().__init__(base)
        self.layers = dict(layers or {})  # no parts of this module: each belongs to its own run

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[1, N, in]` to `[1, N, out]`, in the order of the plan's flat tokens."""
        out = self.base(x)
        state = current()
        assert state is not None, "adapters are mixed on the flat layout only"
        pieces = [
            self.layers[name].over(x[:, start:end], out[:, start:end]) if name in self.layers else out[:, start:end]
            for name, start, end in state.plan.adapters
        ]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)
