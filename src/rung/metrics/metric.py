"""What a metric is to those that resample, compare and show it: a name, a direction, and how rows make it up.

Shapes: `N` rows, `K` parts of a row's contribution, `B` weightings of the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Value = Callable[[Floats], Floats]
"""From sums over rows, `[B, K]`, to the metric of each, `[B]`."""


def ratio(sums: Floats) -> Floats:
    """The first sum over the second: a mean where each row adds its score and 1."""
    return sums[:, 0] / sums[:, 1]


def exp_ratio(sums: Floats) -> Floats:
    """The exponential of `ratio`: perplexity, from a loss and its tokens."""
    return np.exp(ratio(sums))


def scores(values: Floats) -> Floats:
    """`[N, 2]` what rows add to a mean of their scores, `[N]`."""
    return np.stack([values, np.ones_like(values)], axis=1)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of many rows.

    Attributes:
        name: Its key in files.
        title: What it is called in tables and sentences.
        value: The metric of what rows add; None for metrics of labels, which are counted by pairs of labels.
        sums: The metric whose rows it shares; empty = its own.
        lower_is_better: Whether less of it is better.
        parts: `K`, the numbers that a row adds.
        unit: What it is measured in; empty = a share of 0 to 1, whose hundredths are called points.
    """

    name: str
    title: str
    value: Value | None = ratio
    sums: str = ""
    lower_is_better: bool = False
    parts: int = 2
    unit: str = ""

    @property
    def rows(self) -> str:
        """The name under which a row's contribution is kept."""
        return self.sums or self.name

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1."""
        return not self.unit

    def gain(self, value: float) -> float:
        """The value, or its negative where less is better: more of it is always better."""
        return -value if self.lower_is_better else value

    def better(self, sums: Floats) -> Floats:
        """`[B]` of `[B, K]` sums: `gain` of the metric."""
        assert self.value is not None
        return -self.value(sums) if self.lower_is_better else self.value(sums)

    def of(self, rows: Floats) -> float:
        """The metric of `[N, K]` rows."""
        assert self.value is not None
        return float(self.value(rows.sum(axis=0, keepdims=True))[0])


MACRO_F1 = Metric("macro_f1", "macro-F1", value=None, parts=0)
OF_LABELS = (MACRO_F1, Metric("accuracy", "accuracy", value=None, parts=0), Metric("mcc", "MCC", value=None, parts=0))
"""What classifiers are compared by; of each more is better."""
