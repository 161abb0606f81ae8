"""The maps that LoRA puts in the place of frozen ones: plain, DoRA's and PiSSA's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import dropout, linear

from rung.compute.lowrank import linear_beside, lowrank_linear
from rung.methods.wrapping import Wrapper, innermost
from rung.models.families import LINEAR, shape_of, weight_of

if TYPE_CHECKING:
    from rung.methods.lora import Lora


class LoraLinear(Wrapper):
    """`base(x) + scaling * B A x`; `A` and `B` are kept in fp32 and used in the dtype of `x`.

    Args:
        base: The frozen map, or what an earlier run put around it.
        settings: The method.
    """

    def __init__(self, base: nn.Module, settings: Lora) -> None:
        super().__init__(base)
        self.dropout = settings.lora_dropout
        self.scaling = settings.scaling
        out_features, in_features = shape_of(innermost(base))
        self.lora_A = nn.Parameter(torch.empty(settings.r, in_features))
        self.lora_B = nn.Parameter(torch.zeros(out_features, settings.r))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[..., in]` to `[..., out]`."""
        if self._fuses(x):
            weight, bias = weight_of(self.base), getattr(self.base, "bias", None)
            if self.training and self.dropout:
                return linear_beside(self._delta(x), x, weight, bias)
            return lowrank_linear(x, weight, bias, self.pair(), self.scaling)
        return self.over(x, self.base(x))

    def over(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """What this layer makes of the map's output `out` `[..., out]` on the input `x` `[..., in]`."""
        return out + self._delta(x) if self.enabled else out

    def pair(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`A` `[r, in]` and `B` `[out, r]` of the term."""
        return self.lora_A, self.lora_B

    def merged(self) -> torch.Tensor:
        """`[out, in]` the weight that would do the same alone, in fp32 at least."""
        weight = weight_of(self.base)
        down, up = (part.to(_wide(weight)) for part in self.pair())
        return weight + (up @ down) * self.scaling

    def _fuses(self, x: torch.Tensor) -> bool:
        """Whether base and term are rounded once: both of them plain, the base frozen and of the input's dtype."""
        if not self.enabled or not isinstance(self.base, LINEAR) or self.base.weight.dtype != x.dtype:
            return False
        bias = getattr(self.base, "bias", None)
        return not self.base.weight.requires_grad and (bias is None or not bias.requires_grad)

    def _delta(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and self.dropout:
            x = dropout(x, self.dropout)
        down, up = (part.to(x.dtype) for part in self.pair())
        return linear(linear(x, down), up) * self.scaling


class DoraLinear(LoraLinear):
    """DoRA: each output's weights keep their direction and length apart (Liu et al. 2024, arXiv 2402.09353).

    `m / |W + s B A| * (W + s B A) x`, row by row, with the lengths `m` trained; as in the paper no gradient runs
    through the norm. The norm comes from `|W|^2`, `W A^T` and `A A^T`: the sum of the two matrices is never made.
    """

    def __init__(self, base: nn.Module, settings: Lora) -> None:
        super().__init__(base, settings)
        weight = weight_of(self.inner).detach()
        self.squares: torch.Tensor
        self.register_buffer("squares", weight.to(_wide(weight)).square().sum(dim=1), persistent=False)
        self.lora_magnitude_vector = nn.Parameter(self.squares.sqrt())

    def over(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """The output with its directions turned and its lengths set."""
        if not self.enabled:
            return out
        scale = self.lora_magnitude_vector / self._norm()
        bias = getattr(self.inner, "bias", None)
        straight = out if bias is None else out - bias
        # The difference is taken before it is rounded: near 1 bf16 has steps of half a percent.
        return out + (scale - 1).to(x.dtype) * straight + scale.to(x.dtype) * self._delta(x)

    def _fuses(self, x: torch.Tensor) -> bool:
        return False

    def merged(self) -> torch.Tensor:
        """The sum of the two matrices, its rows brought to the trained lengths."""
        return (self.lora_magnitude_vector / self._norm()).unsqueeze(1) * super().merged()

    @torch.no_grad()
    def _norm(self) -> torch.Tensor:
        """`[out]` lengths of the rows of `W + s B A`."""
        weight = weight_of(self.inner)
        down, up = self.lora_A, self.lora_B
        across = (weight @ down.T.to(weight.dtype)).to(up.dtype)
        cross = (across * up).sum(dim=1) * (2 * self.scaling)
        added = ((up @ (down @ down.T)) * up).sum(dim=1) * self.scaling**2
        return (self.squares + cross + added).clamp(min=0).sqrt()


class PissaLinear(LoraLinear):
    """PiSSA: the term starts at the weight's largest singular vectors (Meng et al. 2024, arXiv 2404.02948).

    The paper takes that part out of the frozen weight. Here the weight stays whole, and what the term was at the start
    is taken off its output, so that the pretrained model is still there and other adapters can stand on it.
    """

    def __init__(self, base: nn.Module, settings: Lora) -> None:
        super().__init__(base, settings)
        self.start_A: torch.Tensor
        self.start_B: torch.Tensor
        self.register_buffer("start_A", torch.zeros_like(self.lora_A))
        self.register_buffer("start_B", torch.zeros_like(self.lora_B))

    def begin(self, seed: int) -> None:
        """Set the term to the largest part of the weight, and remember it."""
        weight, rank = weight_of(self.inner).detach().float(), len(self.lora_A)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # More directions than are wanted: the last ones that are found are found badly.
            found = min(2 * rank + _MORE, *weight.shape)
            left, values, right = torch.svd_lowrank(weight, q=found, niter=_ITERATIONS)
        root = (values[:rank] / self.scaling).sqrt()
        with torch.no_grad():
            self.lora_A.copy_(root.unsqueeze(1) * right[:, :rank].T)
            self.lora_B.copy_(left[:, :rank] * root)
            self.start_A.copy_(self.lora_A)
            self.start_B.copy_(self.lora_B)

    def pair(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The term less its start, as one term of twice the rank."""
        return torch.cat([self.lora_A, self.start_A]), torch.cat([self.lora_B, -self.start_B], dim=1)


_ITERATIONS, _MORE = 16, 16
"""Rounds of the randomised decomposition, as PEFT's `pissa_niter_16`; directions looked for beyond twice the rank."""


def _wide(tensor: torch.Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
