"""All that a resumed run needs, as files: tensors in safetensors, the rest in JSON, nothing in pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from rung.engine import fsio
from rung.engine.diskfaults import guard
from rung.errors import TrainingError

WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"


@dataclass(slots=True)
class TrainState:
    """All that a resumed run needs.

    Attributes:
        step: Optimizer steps taken.
        cursor: Where the data goes on, in optimizer steps.
        weights: fp32 trained weights by parameter name.
        optimizer: Moments and step counts, keyed `<parameter>.<slot>`.
        scalars: JSON values of the loop (best metric, patience, lines of history); no NaN or infinity.
        best: Whether this is the best state so far.
    """

    step: int
    cursor: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    scalars: dict[str, Any] = field(default_factory=dict)
    best: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors: what one checkpoint takes, but for a few kB."""
        return sum(tensor.nbytes for tensor in (*self.weights.values(), *self.optimizer.values()))

    def write(self, folder: Path) -> dict[str, fsio.Written]:
        """Write its files into `folder`; gives their sizes and hashes by name."""
        metadata = {"format": "pt", "step": str(self.step)}
        body = {"step": self.step, "cursor": self.cursor, "scalars": self.scalars, "best": self.best}
        return {
            WEIGHTS: fsio.write_safetensors(folder / WEIGHTS, self.weights, metadata),
            OPTIMIZER: fsio.write_safetensors(folder / OPTIMIZER, self.optimizer, metadata),
            STATE: fsio.write_json(folder / STATE, body),
        }

    @classmethod
    def read(cls, folder: Path, moments: bool = True) -> TrainState:
        """Read a folder whose manifest has been verified; without `moments`, the optimizer's are left out."""
        with guard(folder, doing="read"):
            body = json.loads((folder / STATE).read_bytes())
            optimizer = _tensors(folder / OPTIMIZER) if moments else {}
            return cls(weights=_tensors(folder / WEIGHTS), optimizer=optimizer, **body)

    def equals(self, other: TrainState) -> bool:
        """Whether the two hold the same values."""
        return (
            (self.step, self.cursor, self.best) == (other.step, other.cursor, other.best)
            and _canonical(self.scalars) == _canonical(other.scalars)
            and _equal(self.weights, other.weights)
            and _equal(self.optimizer, other.optimizer)
        )

    def require_finite(self) -> None:
        """Refuse what must never be saved.

        Raises:
            TrainingError: A weight, moment or scalar is NaN or infinite.
        """
        for kind, tensors in (("weight", self.weights), ("optimizer state", self.optimizer)):
            for name, tensor in tensors.items():
                if not torch.isfinite(tensor).all():
                    raise TrainingError(
                        f"{kind} {name} is not finite at step {self.step}; nothing was saved of it.",
                        "Lower learning_rate or set max_grad_norm, then start anew with --fresh.",
                    )
        try:
            _canonical(self.scalars)
        except ValueError:
            raise TrainingError(
                f"a metric is not finite at step {self.step}; nothing was saved of it: {self.scalars}.",
                "Look at the evaluation data, and lower learning_rate.",
            ) from None


def _tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        # clone() leaves the mapped file: aligned memory, and no crash if the file is removed.
        return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name].cpu(), other[name].cpu()) for name in one)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)
