"""Whole runs on conversations and on rows of other shapes: trained, written, loaded, asked."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from rung.artifact import load
from rung.errors import ConfigError, DataError
from rung.models.tokenizer import PLAIN_TEMPLATE
from rung.run import RunConfig, execute

WORDS = ["joy", "warm", "plot", "prize", "dinner", "dull", "film", "years", "jokes", "call"]


def turns(chance: random.Random, exchanges: int) -> list[dict[str, str]]:
    said = []
    for _ in range(exchanges):
        word = chance.choice(WORDS)
        said += [{"role": "user", "content": f"{word} {chance.randint(1, 999)}?"}]
        said += [{"role": "assistant", "content": f"it is {word}"}]
    return said


def made(rows: list[dict[str, Any]], model: Path, folder: Path, **settings: Any) -> RunConfig:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    body = {
        "data": {"train": str(path), "test_size": 0.25, "near_duplicates": False},
        "task": {"type": "generation", "max_new_tokens": 8, **settings.pop("task", {})},
        "method": {"type": "lora", "r": 4},
        "training": {"num_train_epochs": 1, "per_device_train_batch_size": 8},
        "model": str(model),
        "num_threads": 1,
        "max_length": 160,
        "output_dir": str(folder / "out"),
        **settings,
    }
    return RunConfig.model_validate(body)


def chats() -> list[dict[str, Any]]:
    chance = random.Random(0)
    return [{"messages": turns(chance, 1 + at % 3)} for at in range(60)]


@pytest.mark.parametrize("train_on", ["all", "last"])
def test_conversations_are_trained_on_and_answered(train_on: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    said: list[str] = []
    config = made(chats(), tiny_models["llama"], tmp_path, task={"train_on": train_on})
    folder = execute(config, {}, say=said.append)
    assert said[0] == "Rows read as messages: the conversation is in messages."
    artifact = load(folder)
    assert artifact.verify(all=True) == []
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert run["base"]["chat_template"]["from"] == "model"
    assert "<|im_start|>" in (folder / "chat_template.jinja").read_text(encoding="utf-8")
    asked = [{"messages": [{"from": "human", "value": "joy 3?"}]}]
    assert (
        artifact.predict(asked)[0].label == artifact.predict([{"messages": json.dumps(asked[0]["messages"])}])[0].label
    )


def test_more_is_learned_of_all_turns_than_of_the_last(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    tokens = []
    for train_on in ("all", "last"):
        place = tmp_path / train_on
        place.mkdir()
        folder = execute(made(chats(), tiny_models["llama"], place, task={"train_on": train_on}), {})
        tokens.append(json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["test"]["loss"]["value"])
    assert tokens[0] != tokens[1]


def test_long_conversations_lose_their_oldest_turns_and_are_counted(
    tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    said: list[str] = []
    chance = random.Random(1)
    rows = [{"messages": turns(chance, 1 + 11 * (at % 2))} for at in range(60)]
    execute(made(rows, tiny_models["llama"], tmp_path), {}, say=said.append)
    (told,) = [sentence for sentence in said if "longer than max_length=160" in sentence]
    assert "for example " in told
    assert "rows.jsonl:" in told


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"instruction": "Say it", "input": "", "output": "it", "system": "be brief", "history": [["a", "b"]]},
            "alpaca",
        ),
        ({"inputs": "Say it", "targets": "it"}, "FLAN tasks"),
        ({"text": "once upon a time"}, "raw text"),
    ],
)
def test_other_shapes_run(row: dict[str, Any], said: str, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    first = next(iter(row))
    rows = [{**row, first: f"{row[first]} {at} {WORDS[at % 10]}"} for at in range(60)]
    heard: list[str] = []
    folder = execute(made(rows, tiny_models["llama"], tmp_path), {}, say=heard.append)
    assert heard[0].startswith(f"Rows read as {said}:")
    artifact = load(folder)
    assert len(artifact.predict([{name: value for name, value in row.items() if name != "output"}])) == 1
    assert artifact.verify(all=True) == []


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_model_without_a_template_gets_ours_which_goes_with_it(
    method: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    said: list[str] = []
    base = tmp_path / "base"
    shutil.copytree(tiny_models["gpt2"], base)
    (base / "chat_template.jinja").unlink()
    config = made(chats(), base, tmp_path, method={"type": method}, max_length=100)
    folder = execute(config, {}, say=said.append)
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert run["base"]["chat_template"]["from"] == "rung"
    assert (folder / "chat_template.jinja").read_text(encoding="utf-8") == PLAIN_TEMPLATE
    assert "chat_template.jinja" in run["files"]
    assert load(folder).verify(all=True) == []
    assert any("training rows are learned in" in sentence for sentence in said)
    if method == "full":
        assert AutoTokenizer.from_pretrained(folder).chat_template == PLAIN_TEMPLATE


def test_a_template_of_columns_does_not_fit_conversations(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    config = made(chats(), tiny_models["llama"], tmp_path, task={"template": "{{ messages }}"})
    with pytest.raises(ConfigError, match="shows columns, and these rows are conversations"):
        execute(config, {})


def test_an_asked_row_that_is_broken_is_named(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    artifact = load(execute(made(chats(), tiny_models["llama"], tmp_path, method={"type": "zero_shot"}), {}))
    with pytest.raises(DataError, match="row 1: messages, turn 1: it has no content"):
        artifact.predict([{"messages": [{"role": "user"}]}])
