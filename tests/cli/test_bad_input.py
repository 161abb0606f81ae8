"""What users get wrong, item by item: the whole message, the exit code, and never a traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rung.cli.app import main

MODELS = "smollm2-135m-instruct, minilm-l6, bert-tiny"
METHODS = (
    "majority, tfidf, zero_shot, few_shot, prompt_search, soft_prompt, prefix, head_only, bitfit, ia3, adapter, "
    "lora, peft, top_layers, full"
)


@pytest.fixture
def here(climbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with `good.csv` and the models `bert` and `llama` in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(climbed.data, "good.csv")
    for name, folder in climbed.models.items():
        (tmp_path / name).symlink_to(folder)
    return tmp_path


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command that is refused says, without `error: `; nothing may reach stdout."""
    assert main(list(words)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    return shown.err.partition("error: ")[2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "in.csv: no such file\n  Did you mean good.csv?\n"),
        (b"", "in.csv is empty\n  Give a file with at least one row.\n"),
        (
            b"text,label\na,x\n\xff\xfe,y\n",
            "in.csv:3: byte 0xff is not UTF-8\n  Save the file as UTF-8 (from Latin-1: iconv -f latin1 -t utf-8).\n",
        ),
        (
            b"text,label\na,x\nb,y,z\n",
            "in.csv:3: expected 2 fields (text, label), got 3\n"
            "  Put a text that holds a comma, a quote or a line break in quotes.\n",
        ),
        (
            b"text,label\n" + b"".join(b"row %d of many,x\n" % number for number in range(40)),
            "label column label: all 29 train rows have the label 'x'\n"
            "  Classification needs at least two classes: set task.label to another column, or add rows.\n",
        ),
    ],
    ids=["missing", "empty", "not UTF-8", "ragged", "one class"],
)
@pytest.mark.parametrize("verb", ["train", "climb"])
def test_rows_that_can_t_be_used(content, message, verb, here, capsys):
    if content is not None:
        (here / "in.csv").write_bytes(content)
    words = ["method=majority"] if verb == "train" else []
    assert error_of(capsys, verb, "in.csv", *words, "data.near_duplicates=false") == message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["method=majority", "task.text=txt"],
            "text=txt: no such column in good.csv\n  Did you mean 'text'? Its columns: text, label.\n",
        ),
        (
            ["method=lor"],
            f"command line: method.type='lor': unknown type. Did you mean lora? Allowed: {METHODS}.\n",
        ),
        (
            ["method=lora", "method.r=two"],
            "command line: method.r='two': must be a valid integer, unable to parse string as an integer.\n",
        ),
        (
            ["method=majority", "data.test_size=0.6", "data.validation_size=0.5"],
            "command line: data: test_size=0.6 and validation_size=0.5 leave no rows to train on: "
            "their sum must be below 1.\n",
        ),
        (
            ["method=zero_shot", "model=./llama", "objective=causal_lm"],
            "objective=causal_lm with method=zero_shot: it trains no weights\n"
            "  Leave the objective out, or choose a method that trains weights.\n",
        ),
        (
            ["method=zero_shot", "model=./bert"],
            "method=zero_shot prompts the model, and an encoder can't be prompted\n"
            "  Use head_only, lora or full with an encoder, or a decoder with this method.\n",
        ),
    ],
    ids=["column", "method", "type", "shares", "objective", "encoder"],
)
def test_settings_that_can_t_be_used(words, message, here, capsys):
    assert error_of(capsys, "train", "good.csv", *words) == message


def test_an_unknown_model_is_named_with_its_nearest(here, capsys):
    said = error_of(capsys, "train", "good.csv", "method=lora", "model=minilm-l7")
    assert said.startswith(f"unknown model 'minilm-l7'. Did you mean 'minilm-l6'? Allowed: {MODELS}.\n")


def test_an_unknown_setting_is_named_with_its_nearest(here, capsys):
    said = error_of(capsys, "climb", "good.csv", "mragin=0.1")
    assert said.startswith("command line: mragin=0.1: unknown key. Did you mean margin? Allowed: data, task, models, ")


def test_a_budget_that_is_no_duration(here, capsys):
    said = error_of(capsys, "climb", "good.csv", "--budget", "soon")
    assert said == "budget=soon is no duration\n  Write for example 90s, 15m or 2h.\n"


def test_a_label_that_only_test_rows_have(here, capsys):
    (here / "test.csv").write_text("text,label\na joy,odd\n")
    assert error_of(capsys, "train", "good.csv", "method=majority", "data.test=test.csv") == (
        "labels of test rows that no train row has: 'odd' (1 rows); first at test.csv:2\n"
        "  Add train rows with them, remove those test rows, or set data.split=stratified to spread each class.\n"
    )


def test_a_class_of_one_row_works_and_is_said(here, capsys):
    (here / "in.csv").write_text((here / "good.csv").read_text() + "a row that stands all alone here,rare\n")
    assert main(["train", "in.csv", "method=majority", "data.test=good.csv", "data.near_duplicates=false"]) == 0
    assert "1 classes have a single train row: 'rare'.\n" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "climb"])
def test_no_rows_to_select_on(verb, here, capsys):
    words = ["method=majority"] if verb == "train" else []
    assert error_of(capsys, verb, "good.csv", *words, "data.validation_size=0") == (
        "there are no validation rows, on which the best weights and the best rung are selected\n"
        "  Give data.validation a file, or data.validation_size a share above 0.\n"
    )


@pytest.mark.parametrize("verb", ["train", "climb"])
def test_a_model_folder_without_weights(verb, here, capsys):
    (here / "bare").mkdir()
    shutil.copy(here / "bert" / "config.json", "bare")
    words = {"train": ["method=lora", "model=./bare"], "climb": ["models=[./bare]", "methods=[lora]"]}[verb]
    assert error_of(capsys, verb, "good.csv", *words) == (
        "bare: model.safetensors is missing.\n  Name a folder with safetensors weights.\n"
    )
    assert not list(here.glob("out/runs/*/run.json"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "data:\n  train: [a\nx: 1\n",
            "in.yaml:3:2: while parsing a flow sequence, expected ',' or ']', but got ':'.\n",
        ),
        (
            'data: !!python/object/apply:os.system ["touch canary"]\n',
            "in.yaml:1:7: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed: "
            "settings are plain values and never make objects.\n",
        ),
    ],
    ids=["syntax", "python tag"],
)
def test_a_settings_file_that_can_t_be_used(content, message, here, capsys):
    (here / "in.yaml").write_text(content)
    assert error_of(capsys, "climb", "in.yaml") == message
    assert not (here / "canary").exists()
