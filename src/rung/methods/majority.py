"""The control that never reads: the most frequent label, always."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rung.methods.control import ControlMethod, FittedControl


class FittedMajority(FittedControl):
    """Shares of the labels in training."""

    def __init__(self, shares: NDArray[np.float64]) -> None:
        self.shares = shares

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The training shares, whatever the text."""
        return np.tile(self.shares, (len(texts), 1))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The shares."""
        return {"shares": self.shares}

    def settings(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}


class Majority(ControlMethod):
    """Answer the most frequent training label."""

    type: Literal["majority"] = "majority"

    def fit(self, texts: Sequence[str], labels: Sequence[int], num_labels: int, seed: int) -> FittedMajority:
        """Count the labels."""
        counts = np.bincount(np.asarray(labels), minlength=num_labels).astype(np.float64)
        return FittedMajority(counts / counts.sum())

    def restore(self, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> FittedMajority:
        """From saved shares."""
        return FittedMajority(arrays["shares"])
