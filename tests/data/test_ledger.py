from __future__ import annotations

import pytest

from rung.data.ledger import Ledger


def test_rows_and_sentences():
    ledger = Ledger()
    ledger.open("a.csv", 3, blank_lines=1)
    for index, bucket in enumerate(["train", "near_duplicate", "train"]):
        ledger.place("a.csv", index, bucket)
    ledger.check()
    assert ledger.as_dict() == {"a.csv": {"rows": 4, "train": 2, "near_duplicate": 1, "blank_line": 1}}
    assert ledger.sentences() == (
        "a.csv: 4 rows: 2 train, 1 removed as near duplicates of another split's rows, 1 blank lines.",
    )


def test_a_row_in_no_bucket_or_in_two_is_our_error():
    ledger = Ledger()
    ledger.open("a.csv", 2)
    ledger.place("a.csv", 0, "train")
    with pytest.raises(AssertionError, match=r"a\.csv: 2 rows, but 1 are in a bucket"):
        ledger.check()
    with pytest.raises(AssertionError, match=r"row 0 of a\.csv is already in 'train'"):
        ledger.place("a.csv", 0, "test")
    with pytest.raises(AssertionError, match="unknown bucket 'lost'"):
        ledger.place("a.csv", 1, "lost")


def test_files_are_taken_in_once():
    first, second = Ledger(), Ledger()
    first.open("a.csv", 1)
    second.open("b.csv", 2)
    first.include(second)
    assert first.rows() == 3
    with pytest.raises(AssertionError, match=r"b\.csv is already in the ledger"):
        first.include(second)
