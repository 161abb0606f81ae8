from __future__ import annotations

import json
from pathlib import Path

import pytest

from rung.data.columns import Columns, infer_columns
from rung.data.readers import Table, read
from rung.errors import DataError


def _table(folder: Path, rows: list[dict]) -> Table:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read(str(path))


def _rows(*names: str, count: int = 24) -> list[dict]:
    makers = {"label": lambda n: f"class {n % 3}", "text": lambda n: f"a rather long text, number {n}", "id": str}
    return [{name: makers[kind](n) for name, kind in (pair.split(":") for pair in names)} for n in range(count)]


@pytest.mark.parametrize(
    ("columns", "text", "label"),
    [
        (("label:label", "text:text"), "text", "label"),
        (("Category:label", "Message:text"), "Message", "Category"),
        (("v1:label", "v2:text"), "v2", "v1"),
        (("id:id", "question:text", "kind:label"), "question", "kind"),
        (("number:id", "prose:text", "verdict:label"), "prose", "verdict"),
    ],
)
def test_columns_are_found(tmp_path: Path, columns: tuple[str, ...], text: str, label: str):
    found = infer_columns(_table(tmp_path, _rows(*columns)), {})
    assert (found.text, found.text_pair, found.label) == (text, None, label)
    assert len(found.reasons) == 2
    assert found.reasons[0].startswith(f"Label column: {label} (")
    assert found.reasons[1].startswith(f"Text column: {text} (")


def test_a_pair_is_found(tmp_path: Path):
    found = infer_columns(_table(tmp_path, _rows("premise:text", "hypothesis:text", "label:label")), {})
    assert found.texts == ("premise", "hypothesis")
    assert found.reasons[1] == "Text columns: premise and hypothesis, a pair (by their names)."


def test_given_columns_are_taken(tmp_path: Path):
    table = _table(tmp_path, _rows("text:text", "body:text", "label:label", "kind:label"))
    found = infer_columns(table, {"text": "body", "label": "kind", "text_pair": None})
    assert found == Columns("body", None, "kind", ())


def test_other_columns_that_fit_are_named(tmp_path: Path):
    rows = [{"prose": f"some long text {n}", "colour": f"c{n % 4}", "side": f"s{n % 2}"} for n in range(24)]
    found = infer_columns(_table(tmp_path, rows), {})
    assert found.label == "side"
    assert found.reasons[0] == (
        "Label column: side (2 different values in 24 rows; colour would fit too: set task.label to choose)."
    )


def test_a_given_column_that_does_not_exist(tmp_path: Path):
    with pytest.raises(
        DataError, match=r"label=lable: no such column .*\n  Did you mean 'label'\? Its columns: text, label"
    ):
        infer_columns(_table(tmp_path, _rows("text:text", "label:label")), {"label": "lable"})


def test_one_column_in_two_roles(tmp_path: Path):
    with pytest.raises(DataError, match="label=text is also the text column"):
        infer_columns(_table(tmp_path, _rows("text:text", "label:label")), {"text": "text", "label": "text"})


def test_no_column_like_a_label(tmp_path: Path):
    with pytest.raises(DataError, match=r"no column looks like a label.*: id \(24 different\), text \(24 different\)"):
        infer_columns(_table(tmp_path, _rows("id:id", "text:text")), {})


def test_no_column_left_for_the_text(tmp_path: Path):
    with pytest.raises(DataError, match="no column is left for the text; its columns: label"):
        infer_columns(_table(tmp_path, _rows("label:label")), {})


def test_notes_of_the_reader_come_first(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("ham,how are you\nspam,win now\nham,fine\nspam,click here\n")
    found = infer_columns(read(str(path)), {})
    assert (found.text, found.label) == ("column_2", "column_1")
    assert "looks like data, not like a header" in found.reasons[0]
