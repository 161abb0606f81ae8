"""`rung data template`: the library listed, seen on rows, and written to a file that a mixture reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rung.cli.app import main
from rung.config.validation import build
from rung.data.load import load_generation
from rung.data.mixture.template_file import library_path, library_types, load_templates
from rung.data.settings import DataConfig


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "mails.csv"
    lines = [f"message {at} of many,{('ham', 'spam_mail')[at % 2]}" for at in range(60)]
    path.write_text("\n".join(["mail,sort", ",ham", *lines]) + "\n", encoding="utf-8")
    return str(path)


COLUMNS = ["--columns", "text=mail", "label=sort"]


def test_the_library_is_listed(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["data", "template", "list"]) == 0
    shown = capsys.readouterr().out
    for name in library_types():
        assert f"│ {name} " in shown
    assert main(["data", "template", "list", "rows.csv"]) == 2


def test_a_type_is_described(capsys):
    assert main(["data", "template", "nli"]) == 0
    shown = capsys.readouterr().out
    assert "  premise: what is taken as true\n" in shown
    assert "\n── write_premise, inverted\n" in shown


def test_templates_are_shown_on_rows(rows, capsys):
    words = ["--rows", "2", "--choices", "ham=mail", "spam_mail=junk"]
    assert main(["data", "template", "topic", rows, *COLUMNS, *words]) == 0
    shown = capsys.readouterr().out
    for template in load_templates(str(library_path("topic"))).templates:
        assert f"── {template.name}" in shown
    assert shown.count(f"{rows}:3:\n") == shown.count(f"{rows}:4:\n") == 10
    assert f"{rows}:2:" not in shown, "a row without a text is passed over"
    assert "Topics: mail or junk\nText: message 0 of many\nTopic:\n⟦mail⟧\n" in shown


def test_an_own_file_is_written_edited_and_mixed(rows, tmp_path, capsys):
    own = str(tmp_path / "mine.yaml")
    assert main(["data", "template", "topic", rows, *COLUMNS, "--write", own]) == 0
    assert capsys.readouterr().out == f"{own}\n"
    written = yaml.safe_load(Path(own).read_text(encoding="utf-8"))
    assert written["columns"] == {"text": "mail", "label": "sort"}
    assert written["choices"] == {"ham": "ham", "spam_mail": "spam mail"}
    assert load_templates(own).templates == load_templates(str(library_path("topic"))).templates

    written["templates"] = [{"name": "mine", "prompt": "{{ text }}\n\nKeep or drop?", "answer": "{{ label | upper }}"}]
    edited = str(tmp_path / "edited.yaml")
    Path(edited).write_text(yaml.safe_dump(written), encoding="utf-8")
    assert main(["data", "template", edited, rows]) == 0
    assert "message 0 of many\n\nKeep or drop?\n⟦HAM⟧" in capsys.readouterr().out
    source = {"name": "mails", "train": rows, "templates": edited}
    data = load_generation(build(DataConfig, {"mixture": {"sources": [source]}, "near_duplicates": False}), {})
    first = data.splits.train[0].fields
    assert first["prompt"].endswith("\n\nKeep or drop?")
    assert {one.fields["completion"] for one in data.splits.train} == {"HAM", "SPAM MAIL"}
    assert (first["type"], first["template"], first["cluster"]) == ("edited", "mine", "topic")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["topc", "ROWS"], "unknown type 'topc'. Did you mean 'topic'?"),
        (["topic", "ROWS"], "no column has a usual name of the role text"),
        (["topic", "ROWS", "--columns", "text"], "--columns text: not name=value"),
        (["topic", "ROWS", "--columns", "text=mail", "text=sort"], "text is set twice"),
        (["topic", "ROWS", "--columns", "text=male", "label=sort"], "columns.text=male: no such column"),
        (["topic", "ROWS", *COLUMNS, "--choices", "hm=x"], "choices.hm: unknown label 'hm'. Did you mean 'ham'?"),
        (["topic", "ROWS", *COLUMNS, "--rows", "0"], "--rows 0: no row is asked for"),
        (["topic", "ROWS", *COLUMNS, "--write", "a.txt"], "--write a.txt: templates are written as YAML"),
        (["topic", "--write", "a.yaml"], "rows are needed"),
        (["absent.yaml", "ROWS"], "absent.yaml"),
        (["topic", "absent.csv"], "absent.csv: no such file"),
    ],
)
def test_what_can_not_be_shown_is_refused(words, message, rows, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "template", *(rows if word == "ROWS" else word for word in words)]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_there_is_not_written_over(rows, tmp_path, capsys):
    own = tmp_path / "mine.yaml"
    own.write_text("mine\n", encoding="utf-8")
    assert main(["data", "template", "topic", rows, *COLUMNS, "--write", str(own)]) == 2
    assert "it is there already" in capsys.readouterr().err
    assert own.read_text(encoding="utf-8") == "mine\n"
