"""Prompts and completions in tables as people have them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rung.data.load import LoadedData, load_generation
from rung.data.settings import DataConfig
from rung.errors import ConfigError, DataError


def rows(columns: Sequence[str], count: int = 40) -> list[dict[str, Any]]:
    return [{column: f"{column} number {at} of {at * 7919 % 101}" for column in columns} for at in range(count)]


def load(
    folder: Path, table: list[dict[str, Any]], columns: dict[str, str | None] | None = None, **data: Any
) -> LoadedData:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    return load_generation(DataConfig(train=str(path), near_duplicates=False, **data), columns or {})


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (("prompt", "completion"), ("prompt", None, "completion")),
        (("answer", "question"), ("question", None, "answer")),
        (("instruction", "output"), ("instruction", None, "output")),
        (("instruction", "input", "output"), ("instruction", "input", "output")),
        (("input", "output"), ("input", None, "output")),
        (("query", "response"), ("query", None, "response")),
        (("Source", "Target"), ("Source", None, "Target")),
        (("id", "system", "prompt", "completion"), ("prompt", None, "completion")),
        (("inputs", "targets"), ("inputs", None, "targets")),
        (("text", "target"), ("text", None, "target")),
        (("text", "id"), ("text", None, "text")),
    ],
)
def test_usual_names_are_found(columns: tuple[str, ...], found: tuple[str, str | None, str], tmp_path: Path) -> None:
    data = load(tmp_path, rows(columns))
    assert (data.columns.text, data.columns.text_pair, data.columns.label) == found
    assert data.labels == ()
    (said,) = data.columns.reasons
    assert said.startswith("Rows read as ")
    assert said.endswith(".")
    assert found[0] in said
    assert found[2] in said


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            ("instruction", "input", "output", "system", "history"),
            "Rows read as alpaca: prompt=instruction, with input below it where it is not empty, system=system, "
            "history=history, completion=output.",
        ),
        (("prompt", "completion"), "Rows read as prompts and completions: prompt=prompt, completion=completion."),
        (("inputs", "targets"), "Rows read as FLAN tasks: prompt=inputs, completion=targets."),
        (("text", "meta"), "Rows read as raw text: all of text is learned, and nothing is asked."),
        (
            ("question", "answer", "response"),
            "Rows read as questions and answers: prompt=question, completion=answer; response would fit too: set "
            "task.completion or task.prompt to choose.",
        ),
    ],
)
def test_the_shape_is_said_in_one_sentence(columns: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert load(tmp_path, rows(columns)).columns.reasons == (said,)


def test_what_the_user_set_is_taken(tmp_path: Path) -> None:
    table = rows(("prompt", "completion", "better"))
    data = load(tmp_path, table, {"completion": "better", "context": "completion"})
    assert (data.columns.text, data.columns.text_pair, data.columns.label) == ("prompt", "completion", "better")


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        (("question", "answer"), {"prompt": "questoin"}, r"prompt=questoin: no such .*\n  Did you mean 'question'\?"),
        (("prompt", "completion"), {"completion": "prompt"}, r"no column has a usual name of a prompt"),
        (("text", "label"), {}, r"usual name of a completion .* its columns: text, label"),
        (("title", "body"), {}, r"usual name of a completion .* its columns: title, body\n  Set task.comp"),
        (("prompt", "completion"), {"prompt": "prompt", "completion": "prompt"}, "prompt is also the prompt"),
    ],
)  # fmt: skip
def test_columns_that_do_not_fit(columns: Any, given: dict[str, str | None], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, rows(columns), given)


def test_every_row_is_somewhere_and_open_answers_have_no_classes(tmp_path: Path) -> None:
    table = rows(("instruction", "input", "output"))
    table[3]["input"] = ""
    table[4]["output"] = " "
    table[5]["instruction"] = None
    data = load(tmp_path, table)
    kept = {record.fields["output"] for split in data.splits.named().values() for record in split}
    assert table[3]["output"] in kept
    counts = data.ledger.counts()
    assert (counts["missing_label"], counts["empty_text"]) == (1, 1)
    assert sum(counts.values()) == 40
    said = data.report.sentences()
    assert f"train: {len(data.splits.train)} rows." in said
    assert data.report.classes["train"] == {}
    assert data.report.conflicts == ()


@pytest.mark.parametrize(
    ("setting", "named"), [({"split": "stratified"}, "split=stratified"), ({"rows_per_label": 2}, "rows_per_label=2")]
)
def test_settings_about_classes_are_refused(setting: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"data.{named} is about classes, and written answers have none"):
        load(tmp_path, rows(("prompt", "completion")), **setting)
