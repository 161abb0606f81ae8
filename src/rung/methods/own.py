"""Methods that train some of the model's own weights, and keep what these were at the start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

from rung.methods.adapted import Adapted
from rung.models.families import Family


class OwnAdapted(Adapted):
    """A model of which some weights are trained in place.

    Args:
        family: The model; all of it is frozen but these weights.
        head: The objective's output layer, or None.
        names: Names of the trained weights.
        rung_type: The method's name in `adapter_config.json`, or None where a whole model is saved.
    """

    def __init__(
        self, family: Family, head: nn.Module | None, names: Iterable[str], rung_type: str | None = None
    ) -> None:
        family.module.requires_grad_(False)
        weights = dict(family.module.named_parameters())
        own = {name: weights[name] for name in names}
        for value in own.values():
            value.requires_grad_(True)
        super().__init__(family, head, own)
        # The trained weights are the copies: others may share the start.
        self.start = {name: value.detach() for name, value in self.own.items()}
        for value in self.own.values():
            value.data = value.detach().clone()
        self.rung_type = rung_type

    def describe(self) -> dict[str, object] | None:
        """PEFT has no such method: the format is Rung's own, tensors under Hugging Face's names."""
        return None if self.rung_type is None else {"rung_type": self.rung_type}

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
