from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.data.views import Joined, Mapped, Picked

ITEMS = st.lists(st.integers(0, 9), max_size=12)


@given(ITEMS, ITEMS, st.integers(-15, 15), st.slices(12))
def test_views_are_used_as_tuples_are(first: list[int], second: list[int], index: int, part: slice):
    whole = tuple(str(item) for item in first + second)
    view = Mapped(Joined([first, second]), str)
    assert tuple(view) == whole
    assert len(view) == len(whole)
    assert bool(view) == bool(whole)
    assert view == whole
    assert view == list(whole)
    assert view != [*whole, "more"]
    assert view[part] == whole[part]
    assert view[part][::-1] == whole[part][::-1]
    assert ("3" in view) == ("3" in whole)
    if -len(whole) <= index < len(whole):
        assert view[index] == whole[index]
        assert view[np.int64(index)] == whole[index]
    else:
        with pytest.raises(IndexError, match=f"index {index} of {len(whole)} items"):
            view[index]


def test_a_picked_view_keeps_indices_alone():
    assert list(Picked("abcd", np.array([2, 0, 2]))) == ["c", "a", "c"]
    assert repr(Picked("abcd", np.array([2, 0, 2]))) == "<Picked of 3 items>"
