from __future__ import annotations

from pathlib import Path

import pytest

from rung.config.document import Document
from rung.config.loading import MAX_BYTES, load_config, load_toml, load_yaml, parse_value, parse_yaml
from rung.errors import ConfigError


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "run.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-4", 1e-4),
        ("2.0e-4", 2e-4),
        ("1E+3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-3", -3),
        ("0", 0),
        ("0x10", 16),
        ("0o17", 15),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
    ],
)
def test_numbers_booleans_and_null_are_those_of_yaml_1_2(written, value):
    read = parse_yaml(f"key: {written}", "run.yaml")["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "written", ["no", "NO", "yes", "on", "Off", "y", "1_000", "2026-01-01", "12:30:45", "1e", "e4", "0b1", "=", "<<"]
)
def test_what_yaml_1_1_would_reinterpret_stays_text(written):
    assert parse_yaml(f"key: {written}", "run.yaml") == {"key": written}


@pytest.mark.parametrize("written", ["'1e-4'", '"1e-4"', "!!str 1e-4"])
def test_quoted_numbers_are_text(written):
    assert parse_yaml(f"key: {written}", "run.yaml") == {"key": "1e-4"}


def test_keys_are_the_text_that_was_typed():
    assert parse_yaml("{0: ham, 010: x, true: y, null: z}", "run.yaml") == {
        "0": "ham",
        "010": "x",
        "true": "y",
        "null": "z",
    }


def test_lines_of_keys_and_items_are_kept():
    document = parse_yaml("data:\n  train: a.csv\nmethods:\n  - zero_shot\n  - type: lora\n    r: 8\n", "run.yaml")
    assert document.place(("data", "train")) == "run.yaml:2"
    assert document.place(("methods", 0)) == "run.yaml:4"
    assert document.place(("methods", 1, "r")) == "run.yaml:6"
    assert document.place(("methods", 1, "absent")) == "run.yaml:5"
    assert document.place(("absent",)) == "run.yaml"


def test_an_empty_file_has_no_settings(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text("# nothing yet\n")
    assert load_yaml(path) == {}


def test_json_is_yaml(tmp_path: Path):
    path = tmp_path / "run.yml"
    path.write_text('\ufeff{"a": [1, 2.5, "x", null, true]}', encoding="utf-8")
    assert load_config(path) == {"a": [1, 2.5, "x", None, True]}


def test_aliases_become_copies():
    document = parse_yaml("a: &shared {r: 1}\nb: *shared\n", "run.yaml")
    document["a"]["r"] = 2
    assert document["b"] == {"r": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "run.yaml:3:1: 'a' is given twice, first on line 1."),
        ("s: {lr: 1, 'lr': 2}", "run.yaml:1:12: 'lr' is given twice, first on line 1."),
        ("r: 010", "run.yaml:1:4: 010 could be octal or decimal: write 10 for the number, '010' for the text."),
        ("x: .nan", "run.yaml:1:4: .nan is not a finite number: quote it if it is text."),
        ("x: -.inf", "run.yaml:1:4: -.inf is not a finite number: quote it if it is text."),
        ("x: 1e999", "run.yaml:1:4: 1e999 is too large for a number: quote it if it is text."),
        ("- a\n- b", "run.yaml:1:1: the top level must be settings, `name: value`."),
        ("a: *x", "run.yaml:1:4: found undefined alias 'x'."),
        ("? [a]\n: 1", "run.yaml:1:3: a list or a mapping can't be a key."),
        ("a: 1\n---\nb: 2", "run.yaml:2:1: expected a single document in the stream, but found another document."),
        ("a: b: c", "run.yaml:1:5: mapping values are not allowed here."),
        (
            "a: 1\n\tb: 2",
            "run.yaml:2:1: while scanning for the next token, found character '\\t' that cannot start any token.",
        ),
        ("a: \x07", "run.yaml:1:4: U+0007 is not allowed.\n  Remove it."),
    ],
)
def test_mistakes_name_line_and_column(text, message):
    assert refusal(text) == message


@pytest.mark.hostile
@pytest.mark.parametrize(
    "written",
    [
        "!!python/object/apply:os.system ['touch /tmp/never']",
        "!!python/name:os.system",
        "!!binary aGk=",
        "!!set {a, b}",
        "!!int '3'",
        "!custom {a: 1}",
    ],
)
def test_tags_make_no_objects(written):
    message = refusal(f"key: {written}")
    assert message.startswith("run.yaml:1:6: the tag ")
    assert "is not allowed" in message


@pytest.mark.hostile
def test_an_alias_to_itself_is_refused():
    assert refusal("a: &x [*x]") == "run.yaml:1:4: nested deeper than 40 levels."


@pytest.mark.hostile
@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "{a: " * 5_000, "\n".join("- " * n for n in range(1, 60))])
def test_deep_nesting_is_refused(text):
    assert "nested deeper than 40 levels" in refusal(text)


@pytest.mark.hostile
def test_many_aliases_are_refused():
    assert "more than 100 aliases" in refusal("a: &x 1\nb: [" + "*x, " * 101 + "]")


@pytest.mark.hostile
def test_an_alias_bomb_is_refused():
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    assert "more than 50,000 values" in refusal("a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + levels)


def test_a_missing_file_is_named(tmp_path: Path):
    path = tmp_path / "absent.yaml"
    with pytest.raises(ConfigError) as caught:
        load_yaml(path)
    assert str(caught.value) == f"{path}: no such file.\n  Give the path of a settings file."


def test_a_missing_file_has_a_nearest_match(tmp_path: Path):
    (tmp_path / "spam.yaml").write_text("a: 1")
    with pytest.raises(ConfigError) as caught:
        load_yaml(tmp_path / "spma.yaml")
    assert str(caught.value) == f"{tmp_path}/spma.yaml: no such file.\n  Did you mean {tmp_path}/spam.yaml?"


def test_a_folder_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="Is a directory"):
        load_yaml(tmp_path)


def test_a_file_of_another_type_is_refused():
    with pytest.raises(ConfigError) as caught:
        load_config("run.ini")
    assert str(caught.value) == "run.ini: not a settings file.\n  Settings are read from .yaml, .yml and .toml files."


def test_bytes_that_are_not_utf8_name_their_line(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(ConfigError) as caught:
        load_yaml(path)
    assert str(caught.value) == f"{path}:2: not UTF-8 text (byte 11).\n  Save it as UTF-8."


def test_a_file_too_large_is_refused(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than 1,048,576 bytes"):
        load_yaml(path)


def test_toml_gives_the_same_settings_as_yaml(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_text('model = "x"\n[training]\nlearning_rate = 1e-4\nwhen = 2026-01-01\n[[methods]]\ntype = "lora"\n')
    document = load_config(path)
    assert isinstance(document, Document)
    assert document == {
        "model": "x",
        "training": {"learning_rate": 1e-4, "when": "2026-01-01"},
        "methods": [{"type": "lora"}],
    }
    assert document.place(("model",)) == str(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\na = 2\n", ":2:6: cannot overwrite a value."),
        ("a = 1\nb = [", ":2: invalid value."),
        ("a = nan\n", ": a=nan is not a finite number.\n  Quote it if it is text."),
        ("a = 010\n", ":1:6: expected newline or end of document after a statement."),
        ("a = " + "[" * 50 + "]" * 50, ": a[0][0]... is nested deeper than 40 levels."),
        ("a = " + "[" * 100_000, ": nested deeper than 40 levels.\n  Flatten it."),
    ],
)
def test_toml_mistakes_are_named(tmp_path: Path, text, message):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_toml(path)
    assert str(caught.value) == f"{path}{message}"


def test_a_single_value_is_read():
    assert parse_value("[a, 1e-4, {b: no}]", "command line") == ["a", 1e-4, {"b": "no"}]
    assert parse_value("", "command line") is None
    with pytest.raises(ConfigError, match=r"^command line:1:3: "):
        parse_value("[a", "command line")
