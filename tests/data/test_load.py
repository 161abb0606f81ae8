from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rung.data.load import load_classification
from rung.data.settings import DataConfig
from rung.errors import DataError

Write = Callable[..., str]


def _rows(count: int, labels: str = "xy") -> list[dict]:
    return [{"text": f"{n * n} row number {n}", "label": labels[n % len(labels)]} for n in range(count)]


def _sentences(config: DataConfig) -> str:
    return "\n".join(load_classification(config, {}).report.sentences())


def test_one_file_becomes_checked_splits(write_rows: Write):
    path = write_rows(_rows(200))
    data = load_classification(DataConfig(train=path, near_duplicates=False), {})
    assert (data.columns.text, data.columns.label) == ("text", "label")
    assert data.labels == ("x", "y")
    assert sum(map(len, data.splits.named().values())) == 200
    assert data.ledger.as_dict()[path]["rows"] == 200
    assert data.hashes == {path: hashlib.sha256(Path(path).read_bytes()).hexdigest()}
    assert json.loads(json.dumps(data.report.as_dict()))["rows"] == data.report.rows
    assert data.report.sentences()[0] == (
        "test and validation cut from train by the hash of the text: no row changes sides when rows are added."
    )


def test_labels_are_compared_as_text(write_rows: Write):
    train = write_rows([{"text": f"row {n}", "label": n % 2} for n in range(20)], "train.jsonl")
    test = write_rows([{"text": f"other {n}", "label": f" {n % 2} "} for n in range(20)], "test.jsonl")
    assert load_classification(DataConfig(train=train, test=test, validation_size=0), {}).labels == ("0", "1")


def test_rows_without_text_or_label_are_counted(write_rows: Write):
    rows = [*_rows(60), {"text": " ", "label": "x"}, {"text": "something", "label": None}, {"label": "x"}]
    data = load_classification(DataConfig(train=write_rows(rows), near_duplicates=False), {})
    assert data.report.set_aside == {"empty_text": 2, "missing_label": 1}


def test_one_class_is_refused(write_rows: Write):
    with pytest.raises(DataError, match=r"label column label: all \d+ train rows have the label 'x'\n  Classification"):
        load_classification(DataConfig(train=write_rows(_rows(60, "x"))), {})


def test_a_label_of_test_alone_is_refused(write_rows: Write):
    test = write_rows([{"text": "never seen", "label": "odd"}], "test.jsonl")
    with pytest.raises(DataError) as caught:
        load_classification(DataConfig(train=write_rows(_rows(60)), test=test), {})
    assert caught.value.what == f"labels of test rows that no train row has: 'odd' (1 rows); first at {test}:1"
    assert caught.value.todo.startswith("Add train rows with them, remove those test rows")


def test_a_label_that_a_row_limit_cut_is_a_warning(write_rows: Write):
    config = DataConfig(train=write_rows(_rows(300, "abcdefgh")), max_train_rows=4, near_duplicates=False)
    assert "labels of test rows are in no train row" in _sentences(config)
    assert "raise max_train_rows or rows_per_label" in _sentences(config)


def test_a_label_of_validation_alone_is_a_warning(write_rows: Write):
    rows = write_rows([{"text": "never seen", "label": "odd"}], "validation.jsonl")
    said = _sentences(DataConfig(train=write_rows(_rows(60)), validation=rows))
    assert "1 labels of validation rows are in no train row ('odd'): add train rows with them." in said


def test_conflicting_labels_are_shown_with_their_places(write_rows: Write):
    path = write_rows(
        [*_rows(60), {"text": "7056 ROW number 84", "label": "x"}, {"text": "7056 row number 84", "label": "y"}]
    )
    said = _sentences(DataConfig(train=path, near_duplicates=False))
    assert "Texts with several labels: 1; no model can get all of them right." in said
    assert f"For example '7056 ROW number 84': 'x' at {path}:61, 'y' at {path}:62." in said


def test_other_warnings(write_rows: Write):
    rows = write_rows([*_rows(40), {"text": "a single one", "label": "rare"}, *_rows(0)], "train.jsonl")
    test = write_rows([{"text": f"another {n}", "label": "x"} for n in range(3)], "test.jsonl")
    said = _sentences(DataConfig(train=rows, test=test, validation_size=0))
    assert "1 classes have a single train row: 'rare'." in said
    folded = write_rows(_rows(40, "xX"), "folded.jsonl")
    said = _sentences(DataConfig(train=folded, test=test, validation_size=0))
    assert "Labels 'X' and 'x' differ only in upper and lower case and count as different classes." in said


def test_duplicates_are_reported(write_rows: Write):
    train, test = write_rows(_rows(40) * 2, "train.jsonl"), write_rows(_rows(10), "test.jsonl")
    said = _sentences(DataConfig(train=train, test=test, validation_size=0))
    assert "Texts that come again within train: 40 rows, kept." in said
    assert "Exact duplicates of test rows in train: 20, kept, since the files are taken as they are." in said
    assert f"For example {train}:1 (train) and {test}:1 (test); {train}:2 (train) and " in said


def test_too_few_rows_for_a_split(write_rows: Write):
    with pytest.raises(
        DataError, match=r"data\.(test|validation): none of 4 rows .* fell to this split\n  Give more rows"
    ):
        load_classification(DataConfig(train=write_rows(_rows(4)), near_duplicates=False), {"label": "label"})


def test_no_rows_to_train_on(write_rows: Write):
    rows = [{"text": "", "label": "xy"[n % 2]} for n in range(30)]
    with pytest.raises(DataError, match=r"no rows to train on \(rows set aside: 30 empty_text\)"):
        load_classification(DataConfig(train=write_rows(rows)), {"text": "text"})


def test_a_file_without_the_columns_of_train(write_rows: Write):
    test = write_rows([{"txt": "a", "label": "x"}], "test.jsonl")
    with pytest.raises(DataError, match=r"text=text: no such column in .*test\.jsonl\n  Did you mean 'txt'\?"):
        load_classification(DataConfig(train=write_rows(_rows(60)), test=test), {})
