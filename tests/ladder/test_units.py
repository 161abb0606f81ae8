from __future__ import annotations

import pytest

from rung.ladder import units


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (0.0, "0 s"),
        (0.004, "4 ms"),
        (0.8, "0.8 s"),
        (12.3, "12.3 s"),
        (99.97, "1 min 40 s"),
        (245.0, "4 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7800.0, "2 h 10 min"),
        (268_000.0, "3.1 days"),
    ],
)
def test_seconds(value: float | None, words: str) -> None:
    assert units.seconds(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0 B"), (512, "512 B"), (4_600_000, "4.6 MB"), (1_900_000_000, "1.9 GB"), (999_960, "1.0 MB"), (None, "–")],
)
def test_size(value: int | None, words: str) -> None:
    assert units.size(value) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0"), (998, "998"), (999.6, "1.0 k"), (134_515_008, "134.5 M"), (2.1e13, "21.0 T")]
)
def test_count(value: float, words: str) -> None:
    assert units.count(value) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0.00004, "0.04 ms"), (0.0051, "5.1 ms"), (0.031, "31 ms"), (1.5, "1,500 ms")]
)
def test_milliseconds(value: float, words: str) -> None:
    assert units.milliseconds(value) == words


def test_a_difference_that_rounds_to_nothing_has_no_sign() -> None:
    assert [units.signed(value) for value in (0.0124, -0.0309, -0.0001)] == ["+0.012", "−0.031", "0.000"]


def test_forgetting_in_its_own_unit() -> None:
    loss = {"kind": "loss", "before": 3.0, "after": 3.04, "change": 0.04}
    probe = {"kind": "probe", "before": 0.8, "after": 0.785, "change": -0.015}
    assert units.forgetting(loss, changes_weights=True) == "+0.04 loss"
    assert units.forgetting(probe, changes_weights=True) == "−1.5 pt probe"
    assert units.forgetting(None, changes_weights=False) == "none"
    assert units.forgetting(None, changes_weights=True) == "–"


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("hostile", "left"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jcleared", "cleared"),
        ("a\r\nb\tc", "a b c"),
        ("bell\x07 nul\x00", "bell nul"),
        ("user\u202egnp.exe", "usergnp.exe"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        ("naïve 日本語 👍", "naïve 日本語 👍"),
    ],
)
def test_plain_takes_out_what_a_terminal_would_obey(hostile: str, left: str) -> None:
    assert units.plain(hostile) == left


def test_names_are_shortened_in_the_middle() -> None:
    assert units.shortened("smollm2-135m-instruct few_shot", 22) == "smollm2-13…ct few_shot"
    assert units.shortened("tfidf", 22) == "tfidf"
