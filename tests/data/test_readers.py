from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from rung.data.readers import read
from rung.errors import DataError


def _write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def _fields(path: str, format: str | None = None) -> list[dict]:
    return [dict(record.fields) for record in read(path, format).records]


def test_csv_keeps_quotes_commas_and_line_breaks(tmp_path: Path):
    path = _write(tmp_path, "a.csv", 'text,label\r\n"one, ""two""\nthree",x\r\n\r\nfour,007\r\n')
    table = read(path)
    assert table.columns == ("text", "label")
    assert [dict(record.fields) for record in table.records] == [
        {"text": 'one, "two"\nthree', "label": "x"},
        {"text": "four", "label": "007"},
    ]
    assert [record.source for record in table.records] == [f"{path}:2", f"{path}:5"]
    assert table.ledger.counts() == {"blank_line": 1}
    assert table.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_csv_with_byte_order_mark_and_semicolons(tmp_path: Path):
    path = _write(tmp_path, "a.csv", "\ufefftext;label\nhello, you;x\n")
    assert _fields(path) == [{"text": "hello, you", "label": "x"}]


def test_gzip_is_unpacked(tmp_path: Path):
    path = _write(tmp_path, "a.csv.gz", gzip.compress(b"text,label\nhi,x\n", mtime=0))
    assert _fields(path) == [{"text": "hi", "label": "x"}]


def test_line_separators_inside_a_text_do_not_end_the_row(tmp_path: Path):
    path = _write(tmp_path, "a.tsv", "text\tlabel\none\u2028two\x0cthree\tx\n")
    assert _fields(path) == [{"text": "one\u2028two\x0cthree", "label": "x"}]


def test_tabs_in_a_file_without_suffix_mean_tsv_and_quotes_are_literal(tmp_path: Path):
    path = _write(tmp_path, "SMSSpamCollection", 'Label\tSMS\nham\t"Go" he said, "now\nspam\t"\n')
    assert _fields(path) == [{"Label": "ham", "SMS": '"Go" he said, "now'}, {"Label": "spam", "SMS": '"'}]


def test_tsv_whose_fields_are_all_quoted_is_unquoted(tmp_path: Path):
    path = _write(tmp_path, "a.tsv", '"text"\t"label"\n"say ""hi"""\t"x"\n')
    assert _fields(path) == [{"text": 'say "hi"', "label": "x"}]


def test_format_csv_reads_quotes_in_tab_separated_text(tmp_path: Path):
    path = _write(tmp_path, "a.tsv", 'text\tlabel\n"one\ntwo"\tx\n')
    assert _fields(path, "csv") == [{"text": "one\ntwo", "label": "x"}]


def test_a_file_without_header_is_noticed(tmp_path: Path):
    path = _write(tmp_path, "a.csv", "ham,how are you\nspam,win now\nham,fine\nspam,click here\n")
    table = read(path)
    assert table.columns == ("column_1", "column_2")
    assert len(table.records) == 4
    assert table.notes == (f"{path}:1 looks like data, not like a header: the columns are named column_1, column_2.",)


def test_a_header_that_recurs_in_its_column_stays_a_header(tmp_path: Path):
    path = _write(tmp_path, "quiz.csv", "stem,A\nfirst,B\nsecond,A\n")
    assert read(path).columns == ("stem", "A")


def test_an_unnamed_column_gets_a_name_that_is_said(tmp_path: Path):
    table = read(_write(tmp_path, "a.csv", "v1,v2,\nham,hello,\n"))
    assert table.columns == ("v1", "v2", "column_3")
    assert table.notes == (f"{table.path}:1: column 3 has no name: it is called column_3.",)


def test_jsonl_takes_values_as_they_are_though_types_change(tmp_path: Path):
    path = _write(tmp_path, "a.jsonl", '{"text": "a", "n": 1}\n\n{"text": ["b"], "n": "x", "m": null}\n')
    table = read(path)
    assert table.columns == ("text", "n", "m")
    assert [dict(record.fields) for record in table.records] == [
        {"text": "a", "n": 1, "m": None},
        {"text": ["b"], "n": "x", "m": None},
    ]
    assert [record.source for record in table.records] == [f"{path}:1", f"{path}:3"]


def test_json_array_rows_have_their_lines(tmp_path: Path):
    table = read(_write(tmp_path, "a.json", '[\n {"t": "a"},\n {"t":\n  "b"}, {"t": "c"}\n]\n'))
    assert [(record.fields["t"], record.source.rpartition(":")[2]) for record in table.records] == [
        ("a", "2"),
        ("b", "3"),
        ("c", "4"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", '{"text": "a"}\n{"text": "b"}\n', "holds JSON lines"),
        ("a.jsonl", "text,label\na,x\n", "holds CSV"),
        ("a.jsonl", '[{"text": "a"}]', "holds a JSON array"),
        ("a.csv", "text\tlabel\na, b\tx\n", "holds tab-separated text"),
    ],
)
def test_a_suffix_that_lies_is_seen_through_and_said(tmp_path: Path, name: str, content: str, words: str):
    table = read(_write(tmp_path, name, content))
    assert table.records[0].fields["text"].startswith("a")
    assert words in table.notes[0]


def test_ids_depend_on_content_alone(tmp_path: Path):
    before = read(_write(tmp_path, "a.csv", "text,label\nhi,x\nhi,x\n"))
    after = read(_write(tmp_path, "b.csv", "label,text\ny,new\nx, HI \nx,hi\n"))
    first = before.records[0].id
    assert [record.id for record in before.records] == [first, f"{first}-1"]
    assert [record.id for record in after.records][1:] == [first, f"{first}-1"]


BAD = [
    ("a.csv", "text,label\nok,x\na,b,c\n", ":3: expected 2 fields (text, label), got 3"),
    ("a.csv", "text,label\nok\n", ":2: expected 2 fields (text, label), got 1"),
    ("a.tsv", "text\tlabel\nok\tx\na\n", ":3: expected 2 fields (text, label), got 1"),
    ("a.csv", 'text,label\nok,x\n"never closed,x\n', ":3: a quote opened here is never closed"),
    ("a.csv", 'text,label\n"a"b,x\n', ":2: ',' expected after '\"'"),
    ("a.csv", "text,text\na,b\n", ":1: column name 'text' stands twice"),
    ("a.csv", "text,label\n", ":1: a header (text, label) and no rows"),
    ("a.csv", "", " is empty"),
    ("a.csv", "\n\n", " is empty"),
    ("a.csv", b"text,label\nok,x\ncaf\xe9,x\n", ":3: byte 0xe9 is not UTF-8"),
    ("a.csv", b"\xef\xbb\xbftext,label\ncaf\xe9,x\n", ":2: byte 0xe9 is not UTF-8"),
    ("a.csv", "text,label\n".encode("utf-16"), " is UTF-16 text"),
    ("a.csv", b"PK\x03\x04rest", " is a zip or Excel file"),
    ("a.csv.gz", gzip.compress(b"text,label\nok,x\n" * 50, mtime=0)[:-12], ": damaged gzip file"),
    ("a.jsonl", '{"a": 1}\n{"a": }\n', ":2:7: Expecting value"),
    ("a.jsonl", '{"a": 1}\n[1]\n', ":2: a row must be a JSON object, got an array"),
    ("a.jsonl", '{"a": 1, "a": 2}\n', ":1: key 'a' stands twice in one object"),
    ("a.jsonl", '{"a": NaN}\n', ":1: NaN is not JSON"),
    ("a.jsonl", '{"a": "\\ud800"}\n', ":1: half of a surrogate pair"),
    ("a.jsonl", '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}\n", ":1: JSON nested too deeply"),
    ("a.jsonl", '{"a": ' + "9" * 5000 + "}\n", ":1: Exceeds the limit"),
    ("a.jsonl", "{}\n", ": rows without columns"),
    ("a.json", '{\n "a": 1\n}', ": not a JSON array of rows"),
    ("a.json", '[{"a": 1},\n {"a" 2}]', ":2:7: Expecting ':' delimiter"),
    ("a.json", '[{"a": 1}\n{"a": 2}]', ":2: expected ',' or ']' after a row"),
    ("a.json", '[{"a": 1}]\nmore', ":2: text after the array's end"),
    ("a.json", "[]", " has no rows"),
    ("a.parquet", b"PAR1 and nothing else", ": not a readable parquet file"),
    ("notes.txt", "one word", ": neither JSON, nor delimited text, nor parquet"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, name: str, content: str | bytes, message: str):
    path = _write(tmp_path, name, content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.what.startswith(f"{path}{message}")
    assert caught.value.todo


def test_a_missing_file_names_the_nearest(tmp_path: Path):
    _write(tmp_path, "sms.csv", "text,label\na,x\n")
    with pytest.raises(DataError, match=r"smms\.csv: no such file\n  Did you mean .*sms\.csv\?"):
        read(str(tmp_path / "smms.csv"))
    with pytest.raises(DataError, match="no folder"):
        read(str(tmp_path / "none" / "sms.csv"))


def test_an_unknown_format_names_the_nearest():
    with pytest.raises(DataError, match=r"unknown format 'jsnl'. Did you mean 'jsonl'\?"):
        read("a.csv", "jsnl")


def test_parquet_and_saved_data_sets(tmp_path: Path):
    import datasets

    rows = {"text": ["a", "b"], "label": [1, 0]}
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    found = datasets.Dataset.from_dict(rows, features=features)
    found.to_parquet(str(tmp_path / "a.parquet"))
    table = read(str(tmp_path / "a.parquet"))
    assert [dict(record.fields) for record in table.records] == [{"text": "a", "label": 1}, {"text": "b", "label": 0}]
    assert table.records[1].source == f"{tmp_path / 'a.parquet'}:row 2"

    folder = str(tmp_path / "saved")
    datasets.DatasetDict({"train": found, "test": found.select([1])}).save_to_disk(folder)
    whole = read(folder)
    assert [record.fields["label"] for record in whole.records] == ["yes", "no"]
    assert whole.notes == (f"{folder} has the splits train, test: train is read; {folder}#NAME reads another.",)
    assert [record.fields["text"] for record in read(f"{folder}#test").records] == ["b"]
    with pytest.raises(DataError, match=r"unknown split 'tset'. Did you mean 'test'\?"):
        read(f"{folder}#tset")
    with pytest.raises(DataError, match="not a data set folder"):
        read(str(tmp_path))


def test_a_hub_id_that_can_not_be_had_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="nobody/nothing: not a file, and not to be had as a hub data set"):
        read("nobody/nothing")
