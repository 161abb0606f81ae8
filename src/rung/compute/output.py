"""The objectives' output layers and the seeds of new parameters."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from rung.types import HeadSpec

_SPREAD = 0.02


def seeded(seed: int, name: str) -> torch.Generator:
    """A generator for one parameter: a parameter's start depends on its name, not on its neighbours."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


class OutputLayer(nn.Module):
    """A linear layer in fp32, under Hugging Face's name `classifier`.

    Args:
        spec: What the objective asks for.
        hidden_size: Width of the body.
        seed: Seed of its weights.
    """

    def __init__(self, spec: HeadSpec, hidden_size: int, seed: int) -> None:
        super().__init__()
        self.spec = spec
        self.classifier = nn.Linear(hidden_size, spec.outputs)
        nn.init.normal_(self.classifier.weight, std=_SPREAD, generator=seeded(seed, "classifier.weight"))
        nn.init.zeros_(self.classifier.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`[N, H]` to `[N, outputs]`, in the layer's own precision."""
        return self.classifier(features.to(self.classifier.weight.dtype))
