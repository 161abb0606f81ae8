"""Rungs judged by metrics that are sums over rows: means, a loss per token, BLEU."""

from __future__ import annotations

import numpy as np
import pytest

from rung.evaluate.statistics import resolution
from rung.ladder.evidence import Rule, RungEvidence
from rung.ladder.recommend import recommend
from rung.metrics.metric import scores
from rung.metrics.written import WRITTEN


def written(name: str, rows: np.ndarray, *, cost: float, validation: float) -> RungEvidence:
    """A rung whose answers add these rows to the metric."""
    ids = [str(row) for row in range(len(rows))]
    return RungEvidence(name, "m", name, int(cost), cost, validation, ids, sums=[[tuple(row) for row in rows.tolist()]])


def test_tasks_with_a_score_per_row_are_judged_alike() -> None:
    drawn = np.random.default_rng(3).random(500)
    full = written("full", scores(drawn), cost=900, validation=0.5)
    near = written("lora", scores(drawn - 0.001), cost=300, validation=0.4)
    far = written("zero_shot", scores(drawn * 0.5), cost=3, validation=0.1)
    found = recommend([full, near, far], Rule(WRITTEN["rouge_l"]))
    assert found.name == "lora"
    assert found.verdicts["lora"].difference == pytest.approx(-0.001)
    assert found.verdicts["zero_shot"].status == "insufficient"
    assert "its ROUGE-L minus that of `full` has a simultaneous 95 % lower bound of -0.0" in found.reason


def test_a_loss_is_judged_by_what_it_is_less() -> None:
    generator = np.random.default_rng(3)
    tokens = generator.integers(5, 40, 2000).astype(float)
    losses = generator.gamma(20, 0.05, 2000) * tokens
    full = written("full", np.stack([losses, tokens], axis=1), cost=900, validation=-1.0)
    near = written("lora", np.stack([losses + 0.001 * tokens, tokens], axis=1), cost=300, validation=-1.01)
    far = written("zero_shot", np.stack([losses * 2, tokens], axis=1), cost=3, validation=-2.0)
    found = recommend([full, near, far], Rule(WRITTEN["loss"], margin=0.05))
    assert (found.reference, found.name) == ("full", "lora")
    assert found.verdicts["lora"].difference == pytest.approx(-0.001)
    gap = losses.sum() / tokens.sum()
    assert found.verdicts["zero_shot"].difference == pytest.approx(-gap)
    assert found.verdicts["zero_shot"].status == "insufficient"
    assert "the loss of `full` minus its own has a simultaneous 95 % lower bound of -0.0" in found.reason


def test_answers_that_are_all_wrong_have_not_been_shown_to_be_equal() -> None:
    nothing = scores(np.zeros(40))
    full = written("full", nothing, cost=900, validation=0.1)
    other = written("zero_shot", nothing, cost=3, validation=0.0)
    found = recommend([full, other], Rule(WRITTEN["exact_match"]))
    assert found.verdicts["zero_shot"].status == "undecided"
    assert found.verdicts["zero_shot"].lower_bound == pytest.approx(-resolution(40))


def test_bleu_of_the_whole_test_set_is_compared() -> None:
    generator = np.random.default_rng(5)
    words = generator.integers(8, 20, 300).astype(float)
    orders = np.maximum(words[:, None] - np.arange(4), 1)
    good = np.concatenate([words[:, None], words[:, None], np.floor(orders * 0.8), orders], axis=1)
    poor = np.concatenate([words[:, None], words[:, None], np.floor(orders * 0.3), orders], axis=1)
    metric = WRITTEN["bleu"]
    full, other = (
        written("full", good, cost=9, validation=0.8),
        written("zero_shot", poor, cost=1, validation=0.3),
    )
    verdict = recommend([full, other], Rule(metric, samples=200)).verdicts["zero_shot"]
    assert verdict.difference == pytest.approx(metric.of(poor) - metric.of(good))
    assert verdict.status == "insufficient"
