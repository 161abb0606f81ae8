from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score

from rung.errors import ConfigError
from rung.evaluate.deciding import rows_to_decide
from rung.evaluate.statistics import (
    bootstrap_interval,
    mcnemar_exact,
    paired_differences,
    paired_sum_differences,
    resolution,
    simultaneous_lower_bounds,
    simultaneous_upper_bounds,
    standard_errors,
)
from rung.metrics.metric import ratio, scores


def answers(truth: np.ndarray, accuracy: float, classes: int, generator: np.random.Generator) -> np.ndarray:
    """Right with the given chance, else another class."""
    wrong = (truth + generator.integers(1, classes, size=truth.shape)) % classes
    return np.where(generator.random(truth.shape) < accuracy, truth, wrong)


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def test_interval_is_the_percentile_bootstrap_of_rows_drawn_with_replacement(generator: np.random.Generator) -> None:
    truth = generator.integers(4, size=150)
    predicted = answers(truth, 0.7, 4, generator)
    draws = generator.integers(150, size=(1500, 150))
    plain = [f1_score(truth[rows], predicted[rows], average="macro", zero_division=0) for rows in draws]
    low, high = bootstrap_interval(truth, predicted, 4, samples=6000)
    assert (low, high) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), abs=0.01)


def test_interval_of_accuracy_agrees_with_the_binomial(generator: np.random.Generator) -> None:
    truth = generator.integers(77, size=1000)
    predicted = answers(truth, 0.8, 77, generator)
    hits = int((truth == predicted).sum())
    expected = stats.binomtest(hits, 1000).proportion_ci(method="wilson")
    interval = bootstrap_interval(truth, predicted, 77, "accuracy")
    assert interval == pytest.approx((expected.low, expected.high), abs=0.005)


def test_same_seed_same_bytes_and_another_seed_other_samples(generator: np.random.Generator) -> None:
    truth = generator.integers(3, size=80)
    runs = [answers(truth, 0.6, 3, generator), np.stack([answers(truth, 0.7, 3, generator) for _ in range(3)])]
    first, again, other = (paired_differences(truth, runs[0], runs[1:], 3, seed=seed) for seed in (5, 5, 6))
    assert first.samples.tobytes() == again.samples.tobytes()
    assert not np.array_equal(first.samples, other.samples)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from(["macro_f1", "accuracy", "mcc"]))
def test_the_order_of_the_rows_plays_no_part(seed: int, metric: str) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.integers(3, size=50)
    runs = [answers(truth, 0.7, 3, generator), answers(truth, 0.5, 3, generator)]
    order = generator.permutation(50)
    straight = paired_differences(truth, runs[0], runs[1:], 3, metric, samples=50)
    shuffled = paired_differences(truth[order], runs[0][order], [runs[1][order]], 3, metric, samples=50)
    assert straight.samples.tobytes() == shuffled.samples.tobytes()
    assert bootstrap_interval(truth, runs[0], 3, metric, samples=50) == bootstrap_interval(
        truth[order], runs[0][order], 3, metric, samples=50
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from(["macro_f1", "accuracy", "mcc"]))
def test_identical_answers_differ_by_exactly_nothing(seed: int, metric: str) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.integers(4, size=60)
    reference = answers(truth, 0.8, 4, generator)
    other = answers(truth, 0.6, 4, generator)
    found = paired_differences(truth, reference, [reference.copy(), other], 4, metric, samples=100)
    assert found.observed[0] == 0.0
    assert not found.samples[:, 0].any()
    assert simultaneous_lower_bounds(found.observed, found.samples)[0] == 0.0
    assert simultaneous_upper_bounds(found.observed, found.samples)[0] == 0.0


def test_when_no_difference_varies_each_is_its_own_bound() -> None:
    observed, samples = np.array([0.0, -0.25]), np.tile([0.0, -0.25], (100, 1))
    np.testing.assert_array_equal(simultaneous_lower_bounds(observed, samples), observed)


def test_one_bound_is_the_normal_one_and_more_rungs_lower_it(generator: np.random.Generator) -> None:
    samples = generator.normal(0.0, 0.01, size=(20_000, 10))
    alone = simultaneous_lower_bounds(np.zeros(1), samples[:, :1])
    together = simultaneous_lower_bounds(np.zeros(10), samples)
    assert alone[0] == pytest.approx(-0.01 * stats.norm.ppf(0.95), rel=0.02)
    assert together == pytest.approx(np.full(10, -0.01 * stats.norm.ppf(0.95 ** (1 / 10))), rel=0.03)
    copies = simultaneous_lower_bounds(np.zeros(10), np.repeat(samples[:, :1], 10, axis=1))
    assert copies == pytest.approx(np.full(10, alone[0]))


def test_upper_bounds_mirror_the_lower_ones(generator: np.random.Generator) -> None:
    observed, samples = np.array([0.1, -0.2]), generator.normal([0.1, -0.2], 0.05, size=(500, 2))
    mirrored = -simultaneous_lower_bounds(-observed, -samples)
    np.testing.assert_array_equal(simultaneous_upper_bounds(observed, samples), mirrored)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_simultaneous_bounds_hold_together_in_about_95_of_100_test_sets(
    metric: str, generator: np.random.Generator
) -> None:
    # All rungs are equally good in truth, so each difference is 0 and any bound above 0 is an error.
    errors, trials = 0, 400
    for trial in range(trials):
        truth = generator.integers(3, size=300)
        shared = answers(truth, 0.8, 3, generator)
        runs = [np.where(generator.random(300) < 0.7, shared, answers(truth, 0.8, 3, generator)) for _ in range(5)]
        found = paired_differences(truth, runs[0], runs[1:], 3, metric, samples=300, seed=trial)
        errors += bool((simultaneous_lower_bounds(found.observed, found.samples) > 0).any())
    assert 0.02 * trials <= errors <= 0.075 * trials


def test_the_variance_of_seeds_is_in_the_samples(generator: np.random.Generator) -> None:
    # Every row of a seed is right or wrong together, so rows add nothing and the seeds' own variance is known.
    truth = np.zeros(400, dtype=np.int64)
    reference = np.zeros(400, dtype=np.int64)
    shares = np.array([0.9, 0.7, 0.8])
    seeds = np.stack([np.r_[np.zeros(round(400 * s)), np.ones(400 - round(400 * s))] for s in shares]).astype(int)
    found = paired_differences(truth, reference, [seeds], 2, "accuracy", samples=20_000)
    assert found.observed[0] == pytest.approx(-0.2)
    rows_alone = paired_differences(truth, reference, [seeds[2]], 2, "accuracy", samples=20_000)
    luck = np.sqrt(shares.var(ddof=1) / 3)
    assert standard_errors(found.samples)[0] > luck
    assert found.luck[0] == pytest.approx(luck, rel=0.05)
    assert rows_alone.luck[0] == 0.0
    assert standard_errors(found.samples)[0] == pytest.approx(
        np.hypot(luck, standard_errors(rows_alone.samples)[0]), rel=0.05
    )


def test_score_differences_are_those_of_paired_means(generator: np.random.Generator) -> None:
    reference = generator.random(200)
    other = reference + generator.normal(0.1, 0.05, size=200)
    runs = [scores(one)[None] for one in (reference, other, reference)]
    found = paired_sum_differences(runs[0], runs[1:], ratio, samples=4000)
    assert found.observed == pytest.approx([(other - reference).mean(), 0.0])
    assert standard_errors(found.samples)[0] == pytest.approx((other - reference).std() / np.sqrt(200), rel=0.05)
    assert standard_errors(found.samples)[1] == 0.0
    assert found.rows == 200


def test_scores_of_accuracy_and_its_rows_agree(generator: np.random.Generator) -> None:
    truth = generator.integers(2, size=100)
    first, second = answers(truth, 0.8, 2, generator), answers(truth, 0.7, 2, generator)
    by_class = paired_differences(truth, first, [second], 2, "accuracy")
    right = [scores((one == truth).astype(float))[None] for one in (first, second)]
    by_score = paired_sum_differences(right[0], right[1:], ratio)
    assert by_score.observed == pytest.approx(by_class.observed)
    assert standard_errors(by_score.samples) == pytest.approx(standard_errors(by_class.samples), rel=0.1)


def test_resolution_is_about_three_over_the_rows_and_coarser_for_more_rungs() -> None:
    assert resolution(1000) == pytest.approx(3 / 1000, rel=0.01)
    assert (1 - resolution(50, comparisons=4)) ** 50 == pytest.approx(0.05 / 4)


def test_rows_to_decide() -> None:
    # (1.645 + 0.842) standard errors must fit in the gap of 0.02: (2.487 * 0.03 / 0.02)^2 = 13.9 times the rows.
    assert rows_to_decide(0.0, 0.03, 100, margin=0.02) == 1300
    assert rows_to_decide(-0.04, 0.03, 100, margin=0.02) == 1300
    assert rows_to_decide(0.0, 0.001, 100, margin=0.02) == 0
    assert rows_to_decide(0.0, 0.0, 100, margin=0.02) == 0
    assert rows_to_decide(-0.02, 0.03, 100, margin=0.02) is None
    assert rows_to_decide(0.0, 0.03, 100, margin=0.02, quantile=2.5) == 2500


def test_rows_cannot_make_up_for_seeds() -> None:
    # The seeds take (2.487 * 0.005)^2 of the gap's square; the rows' error of 0.03 must fit in the rest.
    assert rows_to_decide(0.0, float(np.hypot(0.03, 0.005)), 100, margin=0.02, luck=0.005) == 2200
    assert rows_to_decide(0.0, 0.03, 100, margin=0.02, luck=0.01) is None


def test_mcnemar_looks_only_at_the_rows_where_one_alone_is_right() -> None:
    truth = np.zeros(20, dtype=int)
    first = np.array([0] * 8 + [1] * 2 + [0] * 10)
    second = np.array([1] * 8 + [0] * 2 + [0] * 10)
    assert mcnemar_exact(truth, first, second) == pytest.approx(2 * stats.binom.cdf(2, 10, 0.5))
    assert mcnemar_exact(truth, first, first) == 1.0


def test_an_unknown_metric_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown metric 'macro-f1'\. Did you mean 'macro_f1'\? Allowed: macro_f1,"):
        bootstrap_interval(np.zeros(2, int), np.zeros(2, int), 1, "macro-f1")
