"""Dropout masks from few random bits, drawn by all cores at once.

PyTorch's CPU generator draws one number after the other, 32 or 64 bits for every kept or dropped value. Here it draws a
single number, a counter is hashed from there on (Steele et al. 2014, "Fast Splittable Pseudorandom Number Generators":
splitmix64, which is plain arithmetic on tensors), and 16 bits decide, to 1 part in 65,536.
"""

from __future__ import annotations

import math

import torch
from torch import nn

_LANES = 4
"""Decisions made of one 64-bit number."""
_GOLDEN, _FIRST, _SECOND = (value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def keep_mask(like: torch.Tensor, p: float) -> torch.Tensor:
    """Zeros with probability `p` (to 2^-16), else `1 / (1 - p)`.

    Args:
        like: A tensor of the shape, dtype and device wanted.
        p: Probability of a zero, in `[0, 1)`.

    Returns:
        The factors; which they are follows from the device's default generator.
    """
    numbers = _numbers(math.ceil(like.numel() / _LANES), like.device)
    kept = numbers.view(torch.int16)[: like.numel()] >= round(p * 2**16) - 2**15
    return kept.to(like.dtype).mul_(1 / (1 - p)).view_as(like)


def _numbers(count: int, device: torch.device) -> torch.Tensor:
    """`[count]` random int64."""
    start = torch.empty(1, dtype=torch.int64, device=device).random_(-(2**63), None)
    mixed = torch.arange(count, dtype=torch.int64, device=device).mul_(_GOLDEN).add_(start)
    for shift, factor in ((30, _FIRST), (27, _SECOND), (31, 1)):
        # Shifts of signed numbers draw in the sign; the mask takes it off again.
        mixed ^= (mixed >> shift) & (2 ** (64 - shift) - 1)
        mixed *= factor
    return mixed


class Dropout(nn.Module):
    """`torch.nn.Dropout` with masks from `keep_mask`; what it drops differs, how often does not."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x`, in training with values dropped."""
        return x * keep_mask(x, self.p) if self.training and self.p else x
