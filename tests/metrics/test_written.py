"""The metrics of written answers by their names."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from rung.metrics.generation import AnswerPattern, last_number
from rung.metrics.metric import MACRO_F1
from rung.metrics.written import CHEAP, WRITTEN, AnyMetric, MainMetric, main_metric, text_rows

TRUTH = ["6 * 7 = 42 #### 42", "it is 1,000", "the cat sat"]
WRITTEN_TEXTS = ["so #### 42", "1000.0 of them", "the cat ran"]


def test_every_name_that_a_config_may_hold_is_a_metric() -> None:
    assert set(get_args(MainMetric)) < set(get_args(AnyMetric)) < set(WRITTEN)
    assert set(CHEAP) < set(get_args(AnyMetric))
    assert all(metric.rows in WRITTEN for metric in WRITTEN.values())


@pytest.mark.parametrize("name", sorted(set(get_args(AnyMetric)) - {"loss", "perplexity"}))
def test_a_metric_of_texts_is_a_share_made_of_rows(name: str) -> None:
    rows = text_rows(name, TRUTH, WRITTEN_TEXTS, AnswerPattern("#### ([0-9]+)"))
    assert len(rows) == 3
    assert 0 <= WRITTEN[name].of(rows) <= 1
    assert WRITTEN[name].is_share


def test_final_answers_by_pattern_and_by_number() -> None:
    pattern = AnswerPattern("#### ([0-9]+)")
    assert text_rows("exact_match", TRUTH, WRITTEN_TEXTS, pattern)[:, 0].tolist() == [1, 0, 0]
    assert text_rows("answer_found", TRUTH, WRITTEN_TEXTS, pattern)[:, 0].tolist() == [1, 0, 0]
    assert text_rows("number_match", TRUTH, WRITTEN_TEXTS, None)[:, 0].tolist() == [1, 1, 0]
    assert text_rows("token_f1", TRUTH, WRITTEN_TEXTS, None)[2, 0] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("it is 5.", "5"),
        ("-1,000.5 or so", "-1,000.5"),
        ("from 3 to -7", "-7"),
        ("5-3", "3"),
        ("h2o", None),
        ("", None),
        ("$1,234 and 50%", "50"),
    ],
)
def test_the_last_number_of_a_text(text: str, found: str | None) -> None:
    assert last_number(text) == found


def test_the_main_metric_is_named_or_follows_from_the_pattern() -> None:
    assert main_metric(None, has_pattern=True).name == "exact_match"
    assert main_metric(None, has_pattern=False).name == "token_f1"
    assert main_metric("loss", has_pattern=True).lower_is_better


def test_more_of_a_gain_is_always_better() -> None:
    loss, perplexity = WRITTEN["loss"], WRITTEN["perplexity"]
    assert (loss.gain(2.0), MACRO_F1.gain(0.5)) == (-2.0, 0.5)
    rows = np.array([[6.0, 2.0], [3.0, 4.0]])
    assert loss.of(rows) == pytest.approx(1.5)
    assert perplexity.of(rows) == pytest.approx(np.exp(1.5))
    assert loss.better(rows) == pytest.approx([-3.0, -0.75])
