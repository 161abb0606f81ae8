"""Whole runs over tiny models: what is left in the folder, and when it is used again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rung.artifact import load
from rung.errors import ArtifactError
from rung.run import RunConfig, execute
from rung.run.prepare import prepare_data

Configure = Callable[..., RunConfig]

ALWAYS = {"run.json", "metrics.json", "predictions.jsonl", "cost.json", "golden.jsonl", "README.md"}
LORA = {"type": "lora", "r": 4}
ADAPTER = {"adapter_model.safetensors", "adapter_config.json", "prompt.json", "history.jsonl"}
HEAD = {"head.safetensors", "head.json"}
PROMPT = {"prompt.json", "prompt.txt", "prompt_messages.json"}
TOKENIZER = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
RUNS = {
    "majority": (None, {"type": "majority"}, {"model.safetensors", "control.json"}),
    "tfidf": (None, {"type": "tfidf"}, {"model.safetensors", "control.json"}),
    "zero_shot": ("llama", {"type": "zero_shot"}, PROMPT),
    "few_shot": ("gpt2", {"type": "few_shot", "num_shots": 1}, {*PROMPT, "search.json"}),
    "few_shot-nearest": (
        "gpt2",
        {"type": "few_shot", "num_shots": [1, 2], "selection": "nearest", "encoder": "bert"},
        {*PROMPT, "search.json", "search.jsonl", "prompt_pool.safetensors"},
    ),
    "prompt_search": (
        "llama",
        {"type": "prompt_search", "budget": {"evaluations": 200}, "max_shots": 1, "width": 2},
        {*PROMPT, "search.json", "search.jsonl"},
    ),
    "head_only": ("bert", {"type": "head_only"}, {*HEAD, "prompt.json", "history.jsonl"}),
    "lora-decoder": ("llama", LORA, ADAPTER),
    "lora-encoder": ("bert", LORA, ADAPTER | HEAD),
    "full": (
        "gpt2",
        {"type": "full"},
        {"model.safetensors", "config.json", *TOKENIZER, "prompt.json", "history.jsonl"},
    ),
}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_leaves_its_artifact_and_nothing_else(
    name: str, configure: Configure, tiny_models: dict[str, Path]
) -> None:
    model, method, extra = RUNS[name]
    if "encoder" in method:
        method = method | {"encoder": str(tiny_models[method["encoder"]])}
    config = configure(model, method)
    folder = execute(config, {})
    template = {"chat_template.jinja"} if model in ("llama", "gpt2") else set()
    assert {path.name for path in folder.iterdir()} == ALWAYS | extra | template
    test = prepare_data(config)[0].splits.test
    predictions = lines(folder / "predictions.jsonl")
    assert [line["id"] for line in predictions] == [record.id for record in test]
    assert set(Counter(line["id"] for line in predictions).values()) == {1}
    assert [line["label"] for line in predictions] == [record.fields["label"] for record in test]
    metrics = json.loads((folder / "metrics.json").read_text())
    right = sum(line["label"] == line["prediction"] for line in predictions) / len(predictions)
    assert metrics["test"]["accuracy"]["value"] == pytest.approx(right)
    assert len(lines(folder / "golden.jsonl")) == min(32, len(test))
    cost = json.loads((folder / "cost.json").read_text())
    assert {"train_seconds", "peak_memory_bytes", "trainable_parameters", "seconds_per_request"} <= set(cost)
    trains = config.method.kind == "weights"
    assert (cost["seconds_per_step"] is not None) == (metrics["train"] is not None) == trains
    if trains:
        # AdamW: two moments of four bytes a number, a step count a parameter, and a master of what is stored in bf16.
        stored = json.loads((folder / "run.json").read_text())["execution"]["dtype"]
        each = 12 if method == {"type": "full"} and stored == "bfloat16" else 8
        assert each <= cost["optimizer_bytes"] / cost["trainable_parameters"] < each + 0.5
        assert set(metrics["train"]) == {*metrics["validation"], "rows"}
        assert metrics["train"]["rows"] == len(prepare_data(config)[0].splits.validation)
    artifact = load(folder)
    assert artifact.verify(all=True) == []
    again = artifact.predict(test)
    assert [one.label for one in again] == [line["prediction"] for line in predictions]


def test_a_finished_run_is_used_again(configure: Configure) -> None:
    said: list[str] = []
    folder = execute(configure("bert", LORA), {})
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    assert execute(configure("bert", LORA), {}, say=said.append) == folder
    assert said == [f"{folder} holds this very run, finished: reused. --fresh runs it anew."]
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()} == before


def test_other_settings_are_refused_and_fresh_replaces(configure: Configure) -> None:
    folder = execute(configure("llama", {"type": "full"}, seed=1), {})
    with pytest.raises(ArtifactError) as caught:
        execute(configure("llama", {"type": "full"}, seed=2), {})
    assert caught.value.what == f"{folder} holds a finished run of other settings or rows"
    assert execute(configure("bert", LORA, seed=2), {}, fresh=True) == folder
    assert {path.name for path in folder.iterdir()} == ALWAYS | RUNS["lora-encoder"][2]
    assert json.loads((folder / "run.json").read_text())["seed"] == 2


@pytest.mark.parametrize("name", ["head_only", "lora-decoder", "full"])
def test_the_same_settings_give_the_same_bytes(name: str, configure: Configure) -> None:
    model, method, _ = RUNS[name]
    first, second = (execute(configure(model, method, out), {}) for out in ("first", "second"))
    weights = sorted(path.name for path in first.glob("*.safetensors"))
    assert weights
    for file in [*weights, "predictions.jsonl", "golden.jsonl", "prompt.json"]:
        assert (first / file).read_bytes() == (second / file).read_bytes(), file
    other = execute(configure(model, method, "third", seed=1), {})
    assert any((first / file).read_bytes() != (other / file).read_bytes() for file in weights)


def test_every_step_is_in_the_history(configure: Configure) -> None:
    folder = execute(configure("bert", LORA, num_train_epochs=3), {})
    steps = lines(folder / "history.jsonl")
    assert [line["step"] for line in steps] == list(range(1, len(steps) + 1))
    assert [line["epoch"] for line in steps if "validation" in line] == [1.0, 2.0, 3.0]
    assert all(set(line) >= {"loss", "learning_rate", "grad_norm", "seconds"} for line in steps)


def test_no_validation_rows_and_no_scoring(configure: Configure) -> None:
    config = configure("bert", LORA, eval_strategy="no")
    steps = lines(execute(config, {}) / "history.jsonl")
    assert not any("validation" in line for line in steps)


def test_a_cut_is_counted_and_said(configure: Configure) -> None:
    said: list[str] = []
    config = configure("bert", LORA).model_copy(update={"max_length": 8})
    execute(config, {}, say=said.append)
    told = [sentence for sentence in said if "their text was cut" in sentence]
    assert len(told) == 1
    assert "training rows are longer than max_length=8: their text was cut, for example " in told[0]
