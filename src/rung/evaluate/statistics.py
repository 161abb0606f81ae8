"""How sure we may be of a metric, and of the difference between rungs that answered the same rows.

Everything rests on one bootstrap of the test rows. Rows that every rung answers alike are one cell, and a resample
is one multinomial draw over the cells (exactly what drawing rows with replacement does), so thousands of
resamples are a few array operations, and the result does not depend on the order of the rows.

A method that was trained with several seeds is scored by its mean over them; each resample draws `S - 1` of its `S`
seeds with replacement, which makes the variance from luck unbiased (Rao & Wu 1988,
https://doi.org/10.1080/01621459.1988.10478591). With one seed, a result is about that trained model alone.

Shapes: `N` test rows, `M` cells, `S` seeds, `B` resamples, `K` rungs compared with the reference, `C` labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from rung.errors import ConfigError, unknown
from rung.metrics.classification import METRICS, class_counts
from rung.metrics.metric import Value

SAMPLES = 2000
LEVEL = 0.95

_ELEMENTS_AT_ONCE = 4_000_000
_NO_ERROR = 1e-12

Score = Callable[[np.ndarray], np.ndarray]
"""From weights of the cells, `[b, M]`, to the metric under each weighting, `[b]`."""


@dataclass(frozen=True, slots=True)
class Differences:
    """Differences between rungs and a reference on the same rows; more than 0 is better than the reference.

    Attributes:
        observed: `[K]` the differences on the test rows.
        samples: `[B, K]` the differences on each resample: the same rows for all rungs.
        rows: `N`.
        luck: `[K]` the part of the standard errors that comes from the seeds: more rows don't make it smaller.
    """

    observed: np.ndarray
    samples: np.ndarray
    rows: int
    luck: np.ndarray

    def estimates(self) -> list[dict[str, float]]:
        """Each difference as `value`, with the `low` and `high` ends of its own two-sided 95 % percentile interval."""
        low, high = np.quantile(self.samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        ends = zip(self.observed, low, high, strict=True)
        return [{"value": float(value), "low": float(one), "high": float(other)} for value, one, other in ends]


def bootstrap_interval(
    truth: np.ndarray,
    predicted: np.ndarray,
    num_classes: int,
    metric: str = "macro_f1",
    level: float = LEVEL,
    samples: int = SAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """The two-sided percentile bootstrap interval of a metric, over rows and seeds.

    Args:
        truth: `[N]` label indices.
        predicted: `[N]` label indices or `NO_ANSWER`; or `[S, N]`, one row per seed of the same method.
        num_classes: `C`.
        metric: A name in `METRICS`.
        level: Share of such intervals that hold the true value.
        samples: `B`.
        seed: Same seed, same interval.

    Returns:
        The lower and the upper end.

    Raises:
        ConfigError: The metric is unknown.
    """
    _, resampled, _ = _classification(truth, [predicted], num_classes, metric, (samples, seed))
    low, high = np.quantile(resampled[:, 0], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_differences(
    truth: np.ndarray,
    reference: np.ndarray,
    others: Sequence[np.ndarray],
    num_classes: int,
    metric: str = "macro_f1",
    samples: int = SAMPLES,
    seed: int = 0,
) -> Differences:
    """How much better than the reference each other rung is, with the joint bootstrap of all differences.

    Args:
        truth: `[N]` label indices.
        reference: `[N]` or `[S, N]` label indices or `NO_ANSWER`.
        others: `K` arrays like `reference`, for the same rows in the same order; `S` may differ.
        num_classes: `C`.
        metric: A name in `METRICS`.
        samples: `B`.
        seed: Same seed, same samples.

    Raises:
        ConfigError: The metric is unknown.
    """
    return _against_first(
        *_classification(truth, [reference, *others], num_classes, metric, (samples, seed)), len(truth)
    )


def paired_sum_differences(
    reference: np.ndarray, others: Sequence[np.ndarray], value: Value, samples: int = SAMPLES, seed: int = 0
) -> Differences:
    """`paired_differences` for metrics of sums over rows: means, a loss per token, BLEU.

    Args:
        reference: `[S, N, P]` the parts that each row adds, one sheet per seed.
        others: `K` arrays like `reference`, for the same rows in the same order; `S` may differ.
        value: From sums to the metric; more is better.
        samples: `B`.
        seed: Same seed, same samples.
    """
    return _against_first(*resampled_sums([reference, *others], value, (samples, seed)), reference.shape[1])


def resampled_sums(
    runs: Sequence[np.ndarray], value: Value, draw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A metric of sums on the test rows `[runs]`, on resamples `[B, runs]`, and on these with all seeds `[B, runs]`.

    Args:
        runs: `[S, N, P]` each: see `paired_sum_differences`.
        value: From sums to the metric.
        draw: `B`, and the seed.
    """
    sheets = np.concatenate(runs)
    flat = sheets.transpose(1, 0, 2).reshape(sheets.shape[1], -1)
    cells, sizes = np.unique(flat, axis=0, return_counts=True)
    parts = np.split(cells, len(sheets), axis=1)
    scores = [partial(_value_of, parts=part, value=value) for part in parts]
    return _resample(sizes, scores, [len(run) for run in runs], draw)


def standard_errors(samples: np.ndarray) -> np.ndarray:
    """`[K]` bootstrap standard errors of the differences; exactly 0 where the resamples never vary."""
    errors = samples.std(axis=0, ddof=1)
    return np.where(errors > _NO_ERROR, errors, 0.0)


def simultaneous_quantile(observed: np.ndarray, samples: np.ndarray, level: float = LEVEL) -> float:
    """How many standard errors below the observed differences the simultaneous lower bounds lie.

    It is the `level` quantile of the largest of the K standardised bootstrap errors (max-t), so it grows with
    the number of rungs only as far as they are not correlated. It is 0 when no difference ever varies.

    Args:
        observed: `[K]`.
        samples: `[B, K]`.
        level: Chance that all K bounds hold together.
    """
    errors = standard_errors(samples)
    varying = errors > 0
    if not varying.any():
        return 0.0
    standardised = (samples[:, varying] - observed[varying]) / errors[varying]
    return float(np.quantile(standardised.max(axis=1), level, method="higher"))


def simultaneous_lower_bounds(observed: np.ndarray, samples: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """One-sided lower bounds that hold for all K differences together with probability `level`.

    `bound_k = d_k - q * se_k`, with `q` from `simultaneous_quantile`. A difference that never varies over the
    resamples (identical answers) is its own bound; `resolution` says what so few rows may hide all the same.
    Method: Romano & Wolf 2005, https://doi.org/10.1111/j.1468-0262.2005.00615.x, one step; after Westfall &
    Young 1993, "Resampling-Based Multiple Testing".

    Args:
        observed: `[K]`.
        samples: `[B, K]`.
        level: Chance that all K bounds hold together.
    """
    return observed - simultaneous_quantile(observed, samples, level) * standard_errors(samples)


def simultaneous_upper_bounds(observed: np.ndarray, samples: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """`simultaneous_lower_bounds` seen from above: all K differences lie below, with probability `level`."""
    return -simultaneous_lower_bounds(-observed, -samples, level)


def resolution(rows: int, comparisons: int = 1, level: float = LEVEL) -> float:
    """The largest share of rows that may differ although none of `rows` test rows did: about `3 / rows`.

    A bootstrap can't resample a kind of row that it never saw, so with few rows it is too sure of rungs that
    agree. This is the exact binomial bound for no event, divided among the comparisons (Bonferroni).
    Method: Clopper & Pearson 1934, https://doi.org/10.1093/biomet/26.4.404.
    """
    return 1 - ((1 - level) / comparisons) ** (1 / rows)


def mcnemar_exact(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """The exact two-sided p-value that two classifiers are equally often right, from the rows where one alone is.

    Method: McNemar 1947, https://doi.org/10.1007/BF02295996, with the binomial distribution.

    Args:
        truth: `[N]` label indices.
        first: `[N]` label indices or `NO_ANSWER`.
        second: `[N]` label indices or `NO_ANSWER`.
    """
    only_first = int(((first == truth) & (second != truth)).sum())
    only_second = int(((first != truth) & (second == truth)).sum())
    if only_first + only_second == 0:
        return 1.0
    from scipy import stats  # imports much that nothing else here needs

    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def _classification(
    truth: np.ndarray, runs: Sequence[np.ndarray], num_classes: int, metric: str, draw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if metric not in METRICS:
        raise ConfigError(unknown("metric", metric, METRICS), f"Set the metric to one of those, not metric={metric}.")
    runs = [np.atleast_2d(run) for run in runs]
    cells, sizes = np.unique(np.concatenate([truth[None], *runs]), axis=1, return_counts=True)

    def score(weights: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        return METRICS[metric](class_counts(cells[0], predicted, num_classes, weights))

    scores = [partial(score, predicted=row) for row in cells[1:]]
    return _resample(sizes, scores, [len(run) for run in runs], draw)


def _resample(
    sizes: np.ndarray, scores: Sequence[Score], seeds: Sequence[int], draw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores the test rows `[runs]`, the resamples `[B, runs]`, and these with every seed counted once `[B, runs]`.

    Run r owns the next `seeds[r]` of `scores`.
    """
    samples, seed = draw
    observed = np.concatenate([score(sizes[None]) for score in scores])
    resampled = np.concatenate([_scored(scores, weights) for weights in _weightings(sizes, samples, seed)])
    ends, luck = np.cumsum(seeds)[:-1], _generator(seed, stream=1)
    runs = np.split(resampled, ends, axis=1)
    folded, steady = [_fold_seeds(run, luck) for run in runs], [run.mean(axis=1) for run in runs]
    means = np.array([run.mean() for run in np.split(observed, ends)])
    return means, np.stack(folded, axis=1), np.stack(steady, axis=1)


def _scored(scores: Sequence[Score], weights: np.ndarray) -> np.ndarray:
    return np.stack([score(weights) for score in scores], axis=1)


def _weightings(sizes: np.ndarray, samples: int, seed: int) -> Iterator[np.ndarray]:
    generator, rows = _generator(seed, stream=0), int(sizes.sum())
    at_once = max(1, _ELEMENTS_AT_ONCE // len(sizes))
    for start in range(0, samples, at_once):
        yield generator.multinomial(rows, sizes / rows, size=min(at_once, samples - start))


def _fold_seeds(resampled: np.ndarray, luck: np.random.Generator) -> np.ndarray:
    samples, seeds = resampled.shape
    if seeds == 1:
        return resampled[:, 0]
    drawn = luck.integers(seeds, size=(samples, seeds - 1))
    return np.take_along_axis(resampled, drawn, axis=1).mean(axis=1)


def _value_of(weights: np.ndarray, parts: np.ndarray, value: Value) -> np.ndarray:
    return value(weights @ parts)


def _against_first(observed: np.ndarray, resampled: np.ndarray, same_seeds: np.ndarray, rows: int) -> Differences:
    samples, steady = (drawn[:, 1:] - drawn[:, :1] for drawn in (resampled, same_seeds))
    luck = np.sqrt(np.maximum(standard_errors(samples) ** 2 - standard_errors(steady) ** 2, 0.0))
    return Differences(observed[1:] - observed[0], samples, rows, luck)


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, stream])))
