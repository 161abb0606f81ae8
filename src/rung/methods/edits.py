"""What attaching a method changes in a model, taken out again and put back in at will: one base for many runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@dataclass(slots=True)
class Edits:
    """The difference between a model and the same model with methods attached.

    Attributes:
        modules: Per place (a module and a name in it) what stands there without the methods, and with them.
        weights: The model's own weights that have other values: as they are without the methods, and with them.
    """

    modules: list[tuple[nn.Module, str, nn.Module, nn.Module]] = field(default_factory=list)
    weights: list[tuple[nn.Parameter, torch.Tensor, torch.Tensor]] = field(default_factory=list)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within: the model with the methods attached."""
        try:
            self.place(attached=True)
            yield
        finally:
            self.place(attached=False)

    def place(self, attached: bool) -> None:
        """Put the methods in, or take them out."""
        for part, name, without, within in self.modules:
            setattr(part, name, within if attached else without)
        for parameter, without, within in self.weights:
            parameter.data = within if attached else without


@contextmanager
def recorded(module: nn.Module) -> Iterator[Edits]:
    """Within: methods are attached to a frozen model. Afterwards it is as it was, and the edits are filled in.

    Modules are compared by identity and weights by where they are stored, so a method has to put new tensors in the
    place of old ones rather than write into them.
    """
    edits = Edits()
    places = {(part, name): child for part in module.modules() for name, child in part.named_children()}
    weights = {value: value.data for value in module.parameters()}
    attributes: dict[str, Any] = dict(vars(module))
    try:
        yield edits
    finally:
        edits.modules += [
            (part, name, child, part.get_submodule(name))
            for (part, name), child in places.items()
            if part.get_submodule(name) is not child
        ]
        edits.weights += [
            (value, data, value.data) for value, data in weights.items() if value.data_ptr() != data.data_ptr()
        ]
        edits.place(attached=False)
        for name in set(vars(module)) - set(attributes):  # the PEFT library notes its settings on the model
            delattr(module, name)
        for value in weights:
            value.requires_grad_(False)
