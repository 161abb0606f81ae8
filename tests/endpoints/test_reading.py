"""Labels from tokens and from texts."""

from __future__ import annotations

import math

import pytest

from rung.endpoints.reading import Position, Reader


def place(token: str, share: float, **others: float) -> Position:
    return Position(token, math.log(share), {name.replace("_", " "): math.log(one) for name, one in others.items()})


def shares(reader: Reader, *places: Position) -> list[float]:
    found = reader.logs(places)
    assert found is not None
    return [math.exp(one) for one in found]


def test_the_first_token_where_answers_differ_in_their_first_sign() -> None:
    reader = Reader(["good", "bad"])
    assert reader.steps == 1
    assert shares(reader, place("good", 0.6, good=0.6, bad=0.3, Good=0.05)) == pytest.approx([0.65, 0.3])


def test_tokens_of_one_label_add_up_whatever_stands_before_them() -> None:
    found = shares(Reader(["good", "bad"]), place(" go", 0.4, _go=0.4, ba=0.1, _Ba=0.2, x=0.1))
    assert found == pytest.approx([0.4, 0.3])


def test_answers_that_begin_alike_are_followed_to_where_they_part() -> None:
    reader = Reader(["not spam", "not sure", "spam"])
    assert reader.steps > 1
    found = shares(reader, place("not", 0.8, spam=0.2), place(" ", 1.0), place("sure", 0.7, spam=0.3), place("!", 1.0))
    assert found == pytest.approx([0.24, 0.56, 0.2])


def test_a_token_beside_the_path_that_fits_several_is_shared_out() -> None:
    found = shares(Reader(["not spam", "not sure", "spam"]), place("spam", 0.6, **{"not": 0.4}))
    assert found == pytest.approx([0.2, 0.2, 0.6])


def test_an_answer_that_begins_another_ends_where_the_text_ends() -> None:
    reader = Reader(["not", "not spam"])
    assert shares(reader, place("not", 0.9, x=0.1))[0] == pytest.approx(0.9)
    assert shares(reader, place("not", 0.9), place(" spam", 0.8, **{"<end>": 0.2})) == pytest.approx([0.18, 0.72])


def test_a_label_out_of_sight_gets_half_of_what_it_can_have() -> None:
    reader = Reader(["good", "bad", "fair"])
    assert shares(reader, place("good", 0.7, bad=0.1))[2] == pytest.approx(0.05)
    assert shares(reader, place("good", 0.7, bad=0.29))[2] == pytest.approx(0.005)


def test_a_token_with_no_probability_at_all() -> None:
    found = Reader(["good", "bad"]).logs([Position("good", 0.0, {"good": 0.0, "x": -9999.0})])
    assert found == [0.0, pytest.approx(math.log(5e-10))]


def test_no_label_in_sight() -> None:
    reader = Reader(["good", "bad"])
    assert reader.logs([place("I", 0.6, The=0.4)]) is None


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("good", 0),
        (" Good.\n", 0),
        ("**bad**", 1),
        ("The answer is: bad", 1),
        ("not bad", 2),
        ("It is not bad at all", 2),
        ("good, nothing bad in it", 0),
        ("either good or bad", None),
        ("goodness", None),
        ("", None),
        ("I can't tell", None),
    ],
)
def test_a_label_in_a_text(text: str, label: int | None) -> None:
    assert Reader(["good", "bad", "not bad"]).label(text) == label


def test_case_tells_labels_apart_where_nothing_else_does() -> None:
    reader = Reader(["US", "us"])
    assert [reader.label("US"), reader.label("us"), reader.label("Us")] == [0, 1, None]
