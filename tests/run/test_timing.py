"""What a few timed answers say of many."""

from __future__ import annotations

import pytest

from rung.run.timing import _Answering


def test_answers_written_side_by_side_share_what_one_alone_takes() -> None:
    found = _Answering.found(some=3.6, single=3.0, rows=4)
    assert found.seconds(1) == pytest.approx(3.0)
    assert found.seconds(4) == pytest.approx(3.6)
    assert found.seconds(32) == pytest.approx(2.8 + 32 * 0.2)
    assert found.seconds(33) == pytest.approx(2 * 2.8 + 33 * 0.2), "one more than are written together"
    assert found.seconds(0) == 0


def test_rows_that_share_nothing_take_as_long_as_they_are_many() -> None:
    assert _Answering.found(some=6.4, single=None, rows=64).seconds(1000) == pytest.approx(100.0)


def test_one_row_and_a_slow_one_tell_what_they_can() -> None:
    assert _Answering.found(some=3.0, single=3.0, rows=1).seconds(2) == pytest.approx(6.0)
    # The single one met a slow moment: more rows take no longer than they took, and none takes less than nothing.
    assert _Answering.found(some=3.0, single=3.5, rows=4).seconds(4) == pytest.approx(3.0)
