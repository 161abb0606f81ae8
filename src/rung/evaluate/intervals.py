"""How sure we may be of a mean over rows, or of a mean over the tokens of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rung.evaluate.statistics import LEVEL, SAMPLES

_ELEMENTS_AT_ONCE = 4_000_000


def ratio_interval(
    sums: NDArray[np.float64], counts: NDArray[np.float64], level: float = LEVEL, samples: int = SAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The two-sided percentile bootstrap interval of `sum(sums) / sum(counts)`, rows drawn with replacement.

    Rows stay whole: the tokens of one row are not independent. The order of the rows makes no difference.

    Args:
        sums: `[N]` each row's sum (its score where every count is 1).
        counts: `[N]` what it is a sum over.
        level: Share of such intervals that hold the true value.
        samples: Resamples.
        seed: Same seed, same interval.

    Returns:
        The lower and the upper end.
    """
    rows = len(sums)
    order = np.lexsort((counts, sums))
    ordered = np.stack([sums[order], counts[order]], axis=1)
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 0])))
    at_once = max(1, _ELEMENTS_AT_ONCE // rows)
    ratios: list[NDArray[np.float64]] = []
    for start in range(0, samples, at_once):
        weights = generator.multinomial(rows, np.full(rows, 1 / rows), size=min(at_once, samples - start))
        totals = weights @ ordered
        ratios.append(totals[:, 0] / totals[:, 1])
    low, high = np.quantile(np.concatenate(ratios), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
