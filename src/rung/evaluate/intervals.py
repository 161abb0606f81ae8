"""How sure we may be of a metric that is made of sums over rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rung.evaluate.statistics import LEVEL, SAMPLES, resampled_sums
from rung.metrics.metric import Value, ratio


def sums_interval(
    rows: NDArray[np.float64], value: Value = ratio, level: float = LEVEL, samples: int = SAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The two-sided percentile bootstrap interval of a metric of sums, over rows and seeds.

    Rows stay whole: the tokens of one row are not independent. The order of the rows makes no difference.

    Args:
        rows: `[N, P]` the parts each row adds; or `[S, N, P]`, one sheet per seed of the same method.
        value: From sums to the metric.
        level: Share of such intervals that hold the true value.
        samples: Resamples.
        seed: Same seed, same interval.

    Returns:
        The lower and the upper end.
    """
    sheets = rows[None] if rows.ndim == 2 else rows
    _, resampled, _ = resampled_sums([sheets], value, (samples, seed))
    low, high = np.quantile(resampled[:, 0], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
