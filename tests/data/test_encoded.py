from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.data.encoded import EncodedRows
from rung.types import IGNORED, Row, Tokens

IDS = st.lists(st.integers(0, 2**31 - 1), max_size=6).map(tuple)
LABELS = st.lists(st.just(IGNORED) | st.integers(0, 2**31 - 1), max_size=6).map(tuple)
TOKENS = st.builds(
    Tokens,
    IDS,
    labels=st.none() | LABELS,
    token_type_ids=st.none() | IDS,
    source_ids=st.none() | IDS,
    adapter=st.none() | st.text(),
)
TARGETS = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
ROWS = st.builds(Row, st.text(), st.lists(TOKENS, max_size=3).map(tuple), target=TARGETS, truncated=st.integers(0, 99))


@given(st.lists(ROWS, max_size=5))
def test_rows_come_back_equal_and_hashable(rows: list[Row]):
    kept = EncodedRows(rows)
    assert list(kept) == rows
    assert [hash(row) for row in kept] == [hash(row) for row in rows]
    assert kept[1:] == rows[1:]


def test_a_target_that_would_come_back_changed_is_our_error():
    with pytest.raises(AssertionError, match=r"made of tuples, texts and numbers: \[1, 2\]"):
        EncodedRows([Row("a", (), target=[1, 2])])
