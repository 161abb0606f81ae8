"""Tokens drawn at random, each row by numbers of its own seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

_FIRST_LOOK = 512
"""Tokens among which a nucleus is looked for before the whole vocabulary is sorted."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How continuations are drawn.

    Attributes:
        seeds: One per prompt: a row's draws depend on it alone, not on the rows beside it.
        temperature: Divides the logits; 0 takes the likeliest token.
        top_p: Share of probability from which is drawn, the likeliest tokens first (Holtzman et al. 2020,
            https://arxiv.org/abs/1904.09751); 1 = all.
        enough: Given the ids that a row has written, whether it ends there.
    """

    seeds: tuple[int, ...]
    temperature: float = 1.0
    top_p: float = 1.0
    enough: Callable[[Sequence[int]], bool] | None = None

    def of(self, rows: Sequence[int]) -> Sampling:
        """The same for some of the rows."""
        return replace(self, seeds=tuple(self.seeds[row] for row in rows))

    def chances(self) -> list[random.Random]:
        """A source of random numbers for each row."""
        return [random.Random(seed) for seed in self.seeds]


def drawn(logits: torch.Tensor, sampling: Sampling, chances: Sequence[random.Random]) -> torch.Tensor:
    """`[B]` ids, one drawn for each row.

    Args:
        logits: `[B, V]`.
        sampling: Temperature above 0, and the nucleus.
        chances: The rows' random numbers; one is taken of each.
    """
    shares = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    at = torch.tensor([chance.random() for chance in chances], dtype=torch.float64, device=logits.device).unsqueeze(1)
    if sampling.top_p >= 1:
        return _at(shares, at).squeeze(1)
    best, ids = shares.topk(min(_FIRST_LOOK, shares.shape[-1]), dim=-1)
    if bool((best.double().sum(dim=-1) < sampling.top_p).any()):
        best, ids = shares.sort(dim=-1, descending=True, stable=True)
    before = best.double().cumsum(dim=-1) - best.double()
    nucleus = best.where(before < sampling.top_p, torch.zeros_like(best))
    return ids.gather(1, _at(nucleus, at)).squeeze(1)


def _at(weights: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """`[B, 1]` places where the running sum of `[B, N]` weights passes `[B, 1]` shares of its total."""
    sums = weights.double().cumsum(dim=-1)
    places = torch.searchsorted(sums, at * sums[:, -1:], right=True)
    # A share just below 1 may round up to the total: the last place that has weight is meant.
    last = (weights > 0).long() * torch.arange(weights.shape[-1], device=weights.device)
    return torch.minimum(places, last.amax(dim=-1, keepdim=True))
