from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.data.readers import read
from rung.data.write import write_jsonl, write_table
from rung.errors import DataError, StorageError
from rung.types import Record

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
NAMES = TEXT | st.sampled_from(["_id", "_source", "_fields"])
RECORDS = st.builds(Record, id=TEXT, fields=st.dictionaries(NAMES, VALUES, min_size=1, max_size=4), source=TEXT)


@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_records_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, records: list[Record]):
    path = tmp_path_factory.mktemp("records") / "train.jsonl"
    write_jsonl(path, records)
    table = read(str(path))
    assert table.records == tuple(records)
    assert table.columns == tuple(dict.fromkeys(name for record in records for name in record.fields))


def test_a_formula_is_escaped_in_csv_only(tmp_path: Path):
    rows = [{"text": text, "score": -0.5} for text in ("=1+1", "+1", "-1", "@x", "a=b", "")]
    write_table(tmp_path / "a.csv", ("text", "score"), rows)
    with (tmp_path / "a.csv").open(newline="") as stream:
        found = list(csv.DictReader(stream))
    assert [row["text"] for row in found] == ["'=1+1", "'+1", "'-1", "'@x", "a=b", ""]
    assert {row["score"] for row in found} == {"-0.5"}
    write_table(tmp_path / "a.jsonl", ("text", "other"), rows[:1])
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {"text": "=1+1", "other": None}


def test_another_ending_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"can't write \.xlsx\n  Use \.csv or \.jsonl\."):
        write_table(tmp_path / "a.xlsx", ("text",), [])


def test_a_failed_write_leaves_the_old_file(tmp_path: Path):
    with pytest.raises(StorageError, match="can't be written: No such file or directory"):
        write_jsonl(tmp_path / "none" / "a.jsonl", [])
    path = tmp_path / "a.jsonl"
    path.write_text("old")
    with pytest.raises(ValueError, match="Out of range float"):
        write_jsonl(path, [Record("1", {"x": float("nan")}, "a:1")])
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.jsonl"]
