"""Full fine-tuning: every weight is trained, the start is kept beside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal

import torch
from torch import nn

from rung.compute.drop import Dropout
from rung.methods.adapted import Adapted, replace
from rung.methods.base import WeightMethod
from rung.models.families import Family


class FullAdapted(Adapted):
    """A model whose own weights are trained; `disabled()` puts the start's back for a while."""

    weights_file = "model.safetensors"

    def __init__(self, family: Family, head: nn.Module | None) -> None:
        super().__init__(family, head, dict(family.module.named_parameters()))
        self.start = {name: value.detach().clone() for name, value in self.own.items()}

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Within: the start's weights."""
        trained = {name: value.data for name, value in self.own.items()}
        for name, value in self.own.items():
            value.data = self.start[name]
        try:
            yield
        finally:
            for name, value in self.own.items():
                value.data = trained[name]

    def training(self, model_dropout: bool) -> None:
        """Everything trains; the model's own dropout is active when asked for."""
        super().training(model_dropout)
        self.family.module.train(model_dropout)

    def state(self) -> dict[str, torch.Tensor]:
        """All weights, under Hugging Face's names."""
        return {name: value.detach() for name, value in self.own.items()}


class Full(WeightMethod):
    """Train every weight (supervised fine-tuning in the plain sense)."""

    type: Literal["full"] = "full"
    default_learning_rate: ClassVar[float] = 5e-5
    trains_model: ClassVar[bool] = True

    def training_flops(self, body: int, trainable: int, tokens: int, epochs: float) -> float:
        """Forward, gradient of the states, gradient of the weights: 2 each per weight and token."""
        return 6.0 * body * tokens

    def attach(self, family: Family, head: nn.Module | None, seed: int) -> FullAdapted:
        """Make every weight trainable; no new parameter exists, so the seed is not used."""
        family.module.requires_grad_(True)
        # A batch reads few of the table's rows; the optimizer's masters take sparse gradients.
        table = family.embedding
        table.sparse = table.weight.dtype == torch.bfloat16
        for path, part in list(family.module.named_modules()):
            if type(part) is nn.Dropout and part.p < 1:
                replace(family.module, path, Dropout(part.p))
        return FullAdapted(family, head)
