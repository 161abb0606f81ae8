"""Hostile files: each one is read whole or refused with a `DataError`, and each of its rows is accounted for."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rung.data.columns import Columns
from rung.data.readers import read
from rung.data.settings import DataConfig
from rung.data.split import split
from rung.errors import DataError

CELL = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('",\n\r\t;='), max_size=12)
PLAIN_CELL = CELL.map(lambda cell: cell.replace("\t", " ").replace("\n", " ").replace("\r", " "))
SUFFIXES = st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".txt", "", ".csv.gz", ".parquet"])
SEED_FILES = [
    b'text,label\n"one, two",x\nthree,y\n',
    b"Label\tSMS\nham\thello\nspam\twin\n",
    b'{"text": "a", "label": 1}\n{"text": "b", "label": [2]}\n',
    b'[{"text": "a"}, {"text": "b"}]',
    gzip.compress(b"text,label\na,x\n"),
]

no_deadline = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@no_deadline
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_any_csv_comes_back_cell_by_cell(tmp_path: Path, rows: list[tuple[str, str]], ending: str):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=ending, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    path = tmp_path / "a.csv"
    path.write_bytes(buffer.getvalue().encode())
    assert [tuple(record.fields.values()) for record in read(str(path), "csv").records] == rows


@no_deadline
@given(st.lists(st.tuples(PLAIN_CELL, PLAIN_CELL), min_size=1, max_size=8))
def test_any_tsv_comes_back_literally(tmp_path: Path, rows: list[tuple[str, str]]):
    path = tmp_path / "a.tsv"
    # A first row that is not in quotes shows that the file does not quote.
    path.write_bytes("\n".join(["text\tlabel", "plain\tplain", *map("\t".join, rows)]).encode())
    assert [tuple(record.fields.values()) for record in read(str(path), "tsv").records][1:] == rows


@no_deadline
@given(
    st.sampled_from(SEED_FILES), st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=3)), max_size=4), SUFFIXES
)
def test_a_damaged_file_is_read_whole_or_refused(
    tmp_path: Path, content: bytes, damages: list[tuple[int, bytes]], suffix: str
):
    for place, damage in damages:
        content = content[:place] + damage + content[place + len(damage) // 2 :]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    try:
        table = read(str(path))
    except DataError as error:
        assert str(path) in error.what
        assert error.todo
        return
    columns = Columns(table.columns[0], None, table.columns[-1])
    split(DataConfig(train=str(path)), columns, {"train": table}, table.ledger)
    table.ledger.check()
    assert table.ledger.rows() == len(table.records) + table.ledger.counts().get("blank_line", 0)


@no_deadline
@given(st.integers(1, 60))
def test_a_cut_gzip_is_refused_at_any_length(tmp_path: Path, missing: int):
    whole = gzip.compress(json.dumps({"text": "hello there", "label": "x"}).encode())
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: max(0, len(whole) - missing)])
    with pytest.raises(DataError):
        read(str(path))
