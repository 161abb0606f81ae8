from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rung.cli.predict import answered
from rung.cli.rows import check_output, read_rows, write_rows
from rung.errors import DataError
from rung.types import Prediction

SRC = Path(__file__).parents[2] / "src"


@pytest.fixture
def table(tmp_path: Path):
    path = tmp_path / "in.csv"
    path.write_text("text,n\nfree prize,1\nsee you,2\n")
    return read_rows(str(path))


def test_answers_stand_behind_the_columns_that_were_read(table):
    predictions = [
        Prediction(table.records[0].id, "spam", (0.1, 0.9)),
        Prediction(table.records[1].id, "ham", (0.8, 0.2)),
    ]
    columns, rows = answered(table, predictions, ["ham", "spam"])
    assert columns == ["text", "n", "prediction", "probability_ham", "probability_spam"]
    assert [list(row.values()) for row in rows] == [
        ["free prize", "1", "spam", 0.1, 0.9],
        ["see you", "2", "ham", 0.8, 0.2],
    ]


def test_open_answers_have_no_probabilities(table):
    columns, rows = answered(table, [Prediction("a", "one"), Prediction("b", "two")], [])
    assert columns == ["text", "n", "prediction"]
    assert rows[1] == {"text": "see you", "n": "2", "prediction": "two"}


def test_columns_of_the_input_are_never_lost(tmp_path: Path):
    path = tmp_path / "in.csv"
    path.write_text("prediction,prediction_,probability_a\nx,y,z\n")
    columns, rows = answered(read_rows(str(path)), [Prediction("a", "a", (1.0,))], ["a"])
    assert columns == ["prediction", "prediction_", "probability_a", "prediction__", "probability_a_"]
    assert list(rows[0].values()) == ["x", "y", "z", "a", 1.0]


def test_a_missing_answer_is_an_error_of_ours(table):
    with pytest.raises(ValueError, match="shorter"):
        answered(table, [Prediction("a", "x")], [])


@pytest.mark.parametrize(("form", "text"), [("csv", "a,b\n'=1+1,2\n"), ("jsonl", '{"a": "=1+1", "b": 2}\n')])
def test_stdout_gets_what_a_file_gets(form, text, tmp_path: Path, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    rows = [{"a": "=1+1", "b": 2}]
    write_rows("-", ["a", "b"], rows, form)
    write_rows(str(tmp_path / f"out.{form}"), ["a", "b"], rows, "csv")
    assert stream.buffer.getvalue().decode() == text  # type: ignore[attr-defined]
    assert (tmp_path / f"out.{form}").read_text() == text


def test_stdin_is_read_by_its_content():
    code = (
        "import json; from rung.cli.rows import read_rows; rows = read_rows('-').records; "
        "print(json.dumps([dict(row.fields) for row in rows]), rows[0].source)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input='{"text": "a"}\n{"text": "b"}\n',
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    rows, source = done.stdout.rsplit(" ", 1)
    assert json.loads(rows) == [{"text": "a"}, {"text": "b"}]
    assert source == "/dev/stdin:1\n"


def test_an_output_is_refused_before_anything_is_computed(tmp_path: Path):
    data = tmp_path / "in.csv"
    data.write_text("text\nx\n")
    check_output("-", "-")
    check_output(str(tmp_path / "out.csv"), str(data))
    for output, message in [
        (tmp_path / "out.xlsx", "predictions are written as .csv or .jsonl."),
        (tmp_path / "none" / "out.csv", f"there is no folder {tmp_path / 'none'}."),
        (tmp_path / "." / "in.csv", "is the input file."),
    ]:
        with pytest.raises(DataError) as caught:
            check_output(str(output), str(data))
        assert message in str(caught.value)
    assert data.read_text() == "text\nx\n"
