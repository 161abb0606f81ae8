"""Controls: what a rung must beat to be worth its cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rung.methods.base import Method


class FittedControl(ABC):
    """A fitted control: texts in, probabilities out. Its parts are plain arrays and JSON."""

    @abstractmethod
    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """`[N, C]` probabilities."""

    @abstractmethod
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The arrays of `model.safetensors`."""

    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """The content of `control.json`."""


class ControlMethod(Method, ABC):
    """Learns from texts without a language model."""

    kind: ClassVar[str] = "control"

    @abstractmethod
    def fit(self, texts: Sequence[str], labels: Sequence[int], num_labels: int, seed: int) -> FittedControl:
        """Fit on training texts and label indices."""

    @abstractmethod
    def restore(self, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> FittedControl:
        """A fitted control from its saved parts."""
