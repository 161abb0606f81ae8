"""Final answers and shared words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import ConfigError, DataError
from rung.metrics.generation import SEARCHED, AnswerPattern, exact_match, same_answer, token_f1

GSM8K = AnswerPattern(r"#### (-?[0-9.,]+)")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("6 * 7 = 42\n#### 42", "42"),
        ("#### 1\nno, #### 2", "2"),
        ("#### -1,000.5 dollars", "-1,000.5"),
        ("forty-two", None),
        ("", None),
        ("#### 7" + " " * SEARCHED, None),
    ],
)
def test_the_last_match_in_the_end_of_a_text_counts(text: str, found: str | None) -> None:
    assert GSM8K.find(text) == found


def test_a_pattern_must_be_one_with_one_group() -> None:
    with pytest.raises(ConfigError, match=r"task.answer_pattern='\(' is no regular expression: missing \)"):
        AnswerPattern("(")
    with pytest.raises(ConfigError, match="has 0 groups\n  Put one pair of parentheses around the answer"):
        AnswerPattern("#### [0-9]+")
    with pytest.raises(ConfigError, match="has 2 groups"):
        AnswerPattern("(a)(b)")


def test_a_pattern_that_never_ends_is_an_error() -> None:
    with pytest.raises(DataError, match=r"takes more than 2 s on one text\n  Write it without a repetition inside"):
        AnswerPattern("((?:a|aa)+)$").find("a" * 200 + "b")


@pytest.mark.parametrize(
    ("right", "answer", "same"),
    [
        ("1,000", "$1000.00", True),
        ("18", "18.", True),
        ("18", "180", False),
        ("50%", "50", True),
        ("Blue  car", "blue car", True),
        ("blue car", "a blue car", False),
        ("NaN", "nan", True),
        ("7", None, False),
        (None, None, False),
    ],
)
def test_equal_numbers_or_equal_text(right: str | None, answer: str | None, same: bool) -> None:
    assert same_answer(right, answer) is same


def test_token_f1_is_the_harmonic_mean_of_shared_words() -> None:
    assert token_f1("the cat sat", "The cat sat.") == 1
    assert token_f1("the cat sat", "the dog") == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert token_f1("a a b", "a b b") == pytest.approx(2 / 3)
    assert token_f1("word", "") == 0
    assert token_f1("?", "!") == 1


@settings(deadline=None, max_examples=80)
@given(st.text(max_size=30), st.text(max_size=30))
def test_token_f1_is_symmetric_and_between_0_and_1(first: str, second: str) -> None:
    score = token_f1(first, second)
    assert 0 <= score <= 1
    assert score == token_f1(second, first)
    assert token_f1(first, first) == 1


def test_a_written_text_without_a_final_answer_is_wrong() -> None:
    assert exact_match(["so #### 3", "so #### 4"], ["it is 3", "hm #### 4.0"], GSM8K) == [0.0, 1.0]
    assert exact_match(["Yes"], ["yes"]) == [1.0]
