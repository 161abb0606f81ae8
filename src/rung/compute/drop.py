"""Dropout masks from few random bits.

PyTorch's CPU generator draws 32 or 64 bits for every kept or dropped value; 16 decide as well, to 1 part in 65,536.
"""

from __future__ import annotations

import math

import torch
from torch import nn

_LANES = 4
"""Decisions made of one 64-bit draw."""


def keep_mask(like: torch.Tensor, p: float) -> torch.Tensor:
    """Zeros with probability `p` (to 2^-16), else `1 / (1 - p)`.

    Args:
        like: A tensor of the shape, dtype and device wanted.
        p: Probability of a zero, in `[0, 1)`.

    Returns:
        The factors, drawn from the device's default generator.
    """
    draws = torch.empty(math.ceil(like.numel() / _LANES), dtype=torch.int64, device=like.device)
    draws.random_(-(2**63), None)
    kept = draws.view(torch.int16)[: like.numel()] >= round(p * 2**16) - 2**15
    return kept.to(like.dtype).mul_(1 / (1 - p)).view_as(like)


class Dropout(nn.Module):
    """`torch.nn.Dropout` with masks from `keep_mask`; what it drops differs, how often does not."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x`, in training with values dropped."""
        return x * keep_mask(x, self.p) if self.training and self.p else x
