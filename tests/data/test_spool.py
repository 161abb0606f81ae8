from __future__ import annotations

import errno
import gc
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.data.spool import JsonSpool, Spool, mapped_array
from rung.errors import StorageError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=8))
def test_json_comes_back_as_it_was(values: list):
    spool = JsonSpool(values)
    assert spool == values
    assert [list(one) for one in spool if isinstance(one, dict)] == [list(one) for one in values if type(one) is dict]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 600_000), max_size=8), st.data())
def test_bytes_come_back_from_memory_and_from_the_file(sizes: list[int], data: st.DataObject):
    spool = Spool()
    items = [bytes([at]) * size for at, size in enumerate(sizes)]
    for at, item in enumerate(items):
        spool.append(item)
        read = data.draw(st.integers(0, at))
        assert spool[read] == items[read]
    assert spool == items


def test_half_of_a_surrogate_pair_is_kept():
    assert JsonSpool(["\ud800"])[0] == "\ud800"


def test_the_file_has_no_name_and_goes_with_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = len(list(Path("/proc/self/fd").iterdir()))
    spool = Spool()
    for _ in range(4):
        spool.append(bytes(1 << 20))
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    assert list(tmp_path.iterdir()) == []
    del spool
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_full_disk_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    words = f"{tmp_path}: rows can't be kept there: {os.strerror(errno.EFBIG)}"
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, limits[1]))
        spool = Spool()
        with pytest.raises(StorageError) as caught:
            for _ in range(8):
                spool.append(bytes(1 << 20))
        assert caught.value.what == words
        assert caught.value.todo == "Free some space, or set TMPDIR to a folder on a disk that has some."
        with pytest.raises(StorageError, match="rows can't be kept there"):
            mapped_array((2 << 20, 8), np.int64)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("rows", [3, 3 << 20])
def test_an_array_in_a_file_is_an_array(rows: int):
    array = mapped_array((rows, 1), np.int64)
    assert not array.any()
    array[-1] = 7
    assert isinstance(array, np.memmap) == (rows > 3)
    assert int(array.sum()) == 7
