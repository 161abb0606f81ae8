"""Train rows of a mixture are looked over by what they say, whatever source they are of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rung.config.validation import build
from rung.data.load import load_generation
from rung.data.loaded import LoadedData
from rung.data.settings import DataConfig
from rung.errors import DataError

Body = dict[str, Any]
LONG = "the committee agreed on friday to lower the fee for children who borrow more than nine books a month"


def load(mixture: Body, *drop: str, **data: Any) -> LoadedData:
    return load_generation(build(DataConfig, {"mixture": mixture, "clean": {"drop": drop}, **data}), {})


@pytest.fixture
def told(body: Body, write_rows: Callable[..., str], texts: Callable[[int, int], list[str]]) -> Body:
    """Two sources of questions, the second with a test file of its own and a cluster of its own."""
    first, second = (
        [
            {"question": f"{text[: 24 + at * 7 % 50]}?", "answer": f"it is {at} of {text[: 6 + at % 17]}"}
            for at, text in enumerate(texts(60, salt))
        ]
        for salt in (5, 6)
    )
    test = [{"question": f"what is said of it? {LONG}", "answer": "maple"}]
    first += [
        {"question": "say something of use here", "answer": "... --- ..."},
        {"question": "who won the cup that year", "answer": "I'm sorry, but I can't help with that request."},
        {"question": "answer a rude customer now", "answer": "You are a stupid idiot, go away."},
        {
            "question": f"Tell me who told you, and whom else, that {LONG}, and what they think of it.",
            "answer": "amber 77 cloud",
        },
        {"question": "tell me everything there is", "answer": "frost north pearl ember " * 400},
    ]
    second += [{**first[7], "answer": f"{first[7]['answer']}!"}]
    return {
        "sources": [
            {"name": "first", "train": write_rows(first, "first.jsonl"), "type": "qa_closed_book"},
            {
                "name": "second",
                "train": write_rows(second, "second.jsonl"),
                "test": write_rows(test, "test.jsonl"),
                "type": "qa_closed_book",
            },
        ]
    }


def of(data: LoadedData, name: str) -> dict[str, int]:
    return next(counts for path, counts in data.ledger.as_dict().items() if path.endswith(f"{name}.jsonl (first)"))


def test_causes_are_found_in_every_source_and_against_the_test_rows_of_another(told: Body) -> None:
    data = load(told, test_size=0, validation_size=0)
    expected = {
        "empty": 1, "refusal": 1, "toxic": 1, "contaminated": 1, "near_duplicate": 1, "length_outlier": 1,
    }  # fmt: skip
    assert data.report.cleaning.found == expected
    assert len(data.splits.train) == 126
    (place,) = data.report.cleaning.examples["near_duplicate"]
    assert place.endswith("second.jsonl:61")
    assert any("kept (data.clean.drop=[toxic] would remove them)" in one for one in data.report.sentences())


def test_dropped_rows_are_each_in_the_ledger_under_their_cause(told: Body) -> None:
    causes = ("empty", "refusal", "toxic", "contaminated", "near_duplicate", "length_outlier")
    data = load(told, *causes, test_size=0, validation_size=0)
    assert data.report.cleaning.dropped == dict.fromkeys(causes, 1)
    assert of(data, "first") == {
        "rows": 65, "train": 60, "empty_answer": 1, "refusal": 1, "toxic": 1, "contaminated": 1, "length_outlier": 1,
    }  # fmt: skip
    counts = data.ledger.counts()
    assert (counts["train"], counts["near_repeat"], counts["test"]) == (120, 1, 1)
    assert sum(counts.values()) == 127
    assert len(data.splits.train) == 120
    places = {one.record.source: one.bucket for one in data.splits.set_aside}
    assert sorted(places.values()) == sorted(
        ["empty_answer", "refusal", "toxic", "contaminated", "near_repeat", "length_outlier"]
    )


def test_the_cap_takes_what_cleaning_leaves(told: Body) -> None:
    data = load({**told, "cap": 60}, "empty", "near_duplicate", test_size=0, validation_size=0)
    counts = data.ledger.counts()
    assert (counts["train"], counts["over_cap"]) == (120, 4)


def test_sources_of_other_lengths_are_no_outliers(
    write_rows: Callable[..., str], texts: Callable[[int, int], list[str]]
) -> None:
    short = [
        {"question": f"{text[: 20 + at % 9]}?", "answer": text[: 6 + at % 5]} for at, text in enumerate(texts(90, 1))
    ]
    long = [
        {"question": " ".join([text] * (2 + at % 3)), "answer": " ".join([text] * (2 + at % 4))}
        for at, text in enumerate(texts(8, 2))
    ]
    names = {"short": short, "long": long}
    sources = [
        {"name": name, "train": write_rows(rows, f"{name}.jsonl"), "type": "qa_closed_book"}
        for name, rows in names.items()
    ]
    assert (
        load({"sources": sources}, test_size=0, validation_size=0).report.cleaning.found.get("length_outlier") is None
    )


def test_rows_that_repeat_a_test_file_are_contaminated(body: Body, write_rows: Callable[..., str]) -> None:
    rows = [{"question": f"how many are {at} and {at * at}?", "answer": f"it is {at}"} for at in range(40)]
    body["sources"][1] |= {"train": write_rows(rows, "own.jsonl"), "test": write_rows(rows[:3], "own_test.jsonl")}
    assert load(body, near_duplicates=False).report.cleaning.found["contaminated"] == 3
    counts = load(body, "contaminated", near_duplicates=False).ledger.as_dict()[f"{body['sources'][1]['train']} (quiz)"]
    assert counts["contaminated"] == 3
    assert sum(value for name, value in counts.items() if name != "rows") == 40


def test_a_source_of_which_nothing_is_left_is_refused(told: Body, write_rows: Callable[..., str]) -> None:
    rows = [{"question": f"say number {at * 77}", "answer": "..."} for at in range(30)]
    told["sources"].append({"name": "bare", "train": write_rows(rows, "bare.jsonl"), "type": "qa_closed_book"})
    with pytest.raises(
        DataError, match=r"source bare: none of its rows is left to train on \(.*30 removed for an answer"
    ):
        load(told, "empty", test_size=0, validation_size=0, near_duplicates=False)
