"""Full fine-tuning: every weight is trained, the start is kept beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import nn

from rung.compute.drop import Dropout
from rung.methods.adapted import replace
from rung.methods.base import WeightMethod
from rung.methods.own import OwnAdapted
from rung.models.families import Family


class FullAdapted(OwnAdapted):
    """A model whose own weights are all trained."""

    weights_file = "model.safetensors"

    def state(self) -> dict[str, torch.Tensor]:
        """The weights, and the tables that go with them and are not trained (BART's `final_logits_bias`)."""
        return {name: value.detach() for name, value in self.held().items()}

    def held(self) -> Mapping[str, torch.Tensor]:
        """A whole model's file: without one of its tables it would be another model's."""
        module = self.family.module
        tables = {id(value) for value in module.buffers()}
        saved = module.state_dict(keep_vars=True)
        return self.own | {name: value for name, value in saved.items() if id(value) in tables}

    def training(self, model_dropout: bool) -> None:
        """Everything trains; the model's own dropout is active when asked for."""
        super().training(model_dropout)
        self.family.module.train(model_dropout)


class Full(WeightMethod):
    """Train every weight (supervised fine-tuning in the plain sense)."""

    type: Literal["full"] = "full"
    default_learning_rate: ClassVar[dict[str, float]] = {"encoder": 1e-4, "decoder": 5e-5}
    trains_model: ClassVar[bool] = True

    def training_flops(self, body: int, trainable: int, tokens: int, epochs: float) -> float:
        """Forward, gradient of the states, gradient of the weights: 2 each per weight and token."""
        return 6.0 * body * tokens

    def attach(self, family: Family, head: nn.Module | None, seed: int) -> FullAdapted:
        """Make every weight trainable; no new parameter exists, so the seed is not used."""
        # A batch reads few of the table's rows; the optimizer's masters take sparse gradients.
        table = family.embedding
        table.sparse = table.weight.dtype == torch.bfloat16
        for path, part in list(family.module.named_modules()):
            if type(part) is nn.Dropout and part.p < 1:
                replace(family.module, path, Dropout(part.p))
        return FullAdapted(family, head, [name for name, _ in family.module.named_parameters()])
