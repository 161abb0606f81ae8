"""From token states to one vector per text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from rung.types import Tokens

States = Callable[[Sequence[Tokens], Sequence[Sequence[int]]], torch.Tensor]


def pooled(states: States, sequences: Sequence[Tokens], pooling: str) -> torch.Tensor:
    """One vector per sequence.

    Args:
        states: `(sequences, positions) -> [P, H]`.
        sequences: The texts.
        pooling: `mean` over all tokens, `cls` (the first), `last`.

    Returns:
        `[sequences, H]` in fp32 at least.
    """
    if pooling == "cls":
        return _wide(states(sequences, [[0]] * len(sequences)))
    if pooling == "last":
        return _wide(states(sequences, [[len(sequence) - 1] for sequence in sequences]))
    hidden = _wide(states(sequences, [range(len(sequence)) for sequence in sequences]))
    lengths = torch.tensor([len(sequence) for sequence in sequences], device=hidden.device)
    owner = torch.repeat_interleave(torch.arange(len(sequences), device=hidden.device), lengths)
    sums = hidden.new_zeros(len(sequences), hidden.shape[1]).index_add(0, owner, hidden)
    return sums / lengths.unsqueeze(1)


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
