"""Whole runs that write: trained, prompted, resumed, scored, predicted with, checked."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rung.artifact import load
from rung.config.validation import build
from rung.data.readers import read
from rung.errors import ConfigError, DataError, IncompatibleError
from rung.metrics.generation import AnswerPattern
from rung.metrics.written import WRITTEN, text_rows
from rung.run import RunConfig, execute, validate

LORA = {"type": "lora", "r": 4}
WORDS = ["joy", "warm", "plot", "prize", "dinner", "dull", "film", "years", "jokes", "call"]
EVERY_FILE = ("predictions.jsonl", "golden.jsonl", "prompt.json", "run.json", "metrics.json", "cost.json", "README.md")

Configure = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 rows of `question` and `answer`; an answer ends with `#### n`."""
    chance = random.Random(0)
    path = tmp_path_factory.mktemp("data") / "sums.jsonl"
    rows = []
    for _ in range(90):
        count, words = chance.randint(1, 9), chance.sample(WORDS, chance.randint(1, 6))
        rows.append({"question": f"{' '.join(words)} {count} times?", "answer": f"it is {words[0]} #### {count}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def writing(sums: Path, tiny_models: dict[str, Path], tmp_path: Path) -> Configure:
    def made(model: str, method: dict[str, Any], out: str = "out", task: dict[str, Any] | None = None, **training: Any):
        body = {
            "data": {"train": str(sums), "test_size": 0.25, "near_duplicates": False},
            "task": {"type": "generation", "max_new_tokens": 12, "answer_pattern": r"#### (-?[0-9.,]+)"} | (task or {}),
            "method": method,
            "training": {"num_train_epochs": 2, "per_device_train_batch_size": 8, "save_steps": 3, **training},
            "model": str(tiny_models[model]),
            "num_threads": 1,
            "max_length": 120,
            "output_dir": str(tmp_path / out),
        }
        return RunConfig.model_validate(body)

    return made


@pytest.mark.parametrize(
    "method",
    [
        {"type": "few_shot", "num_shots": [1, 2], "selection": "nearest"},
        {"type": "few_shot", "num_shots": 2, "selection": "diverse", "order": "similarity", "chat_template": False},
        {"type": "few_shot", "num_shots": 2, "selection": "random", "order": "validation", "num_orders": 2},
        {"type": "prompt_search", "budget": {"evaluations": 40}, "max_shots": 1, "first_rows": 8, "width": 2},
    ],
    ids=["nearest", "similarity", "validation", "search"],
)
def test_prompts_that_are_chosen_write_alike_when_loaded(
    method: dict[str, Any], writing: Configure, tiny_models: dict[str, Path]
) -> None:
    encoder = {"encoder": str(tiny_models["bert"]), "max_validation_rows": 8} if method["type"] == "few_shot" else {}
    config = writing("llama", method | encoder, task={"instruction": "Count it.", "main_metric": "rouge_l"})
    folder = execute(config.model_copy(update={"max_length": 250}), {})
    found = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    assert found["metric"] == "rouge_l"
    assert load(folder).verify(all=True) == []


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("llama", LORA),
        ("llama", {"type": "full"}),
        ("gpt2", LORA),
        ("llama", {"type": "zero_shot"}),
        ("gpt2", {"type": "few_shot", "num_shots": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else value["type"],
)
def test_a_run_writes_and_answers_alike_when_loaded(model: str, method: dict[str, Any], writing: Configure) -> None:
    folder = execute(writing(model, method), {})
    assert all((folder / name).exists() for name in EVERY_FILE)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["validation"]) == {"exact_match", "token_f1", "loss", "perplexity"}
    tested = metrics["test"]
    assert tested["loss"]["low"] <= tested["loss"]["value"] <= tested["loss"]["high"]
    assert set(tested) == {
        "exact_match", "token_f1", "loss", "perplexity", "share_stopped", "share_cut",
        "mean_tokens", "rows", "rows_cut",
    }  # fmt: skip
    rows = lines(folder / "predictions.jsonl")
    assert tested["rows"] == len(rows) > 10
    artifact = load(folder)
    assert artifact.labels == ()
    assert artifact.verify(all=True) == []
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert run["data"]["columns"] == {"text": "question", "text_pair": None, "label": "answer"}
    source = read(run["resolved"]["data"]["train"], None).records
    asked = {record.id: record for record in source}
    again = artifact.predict([asked[row["id"]] for row in rows])
    assert [one.label for one in again] == [row["prediction"] for row in rows]
    assert [row["label"] for row in rows] == [asked[row["id"]].fields["answer"] for row in rows]
    scores = artifact.evaluate([asked[row["id"]] for row in rows])
    assert scores == tested


EVERY_METRIC = [
    "exact_match", "number_match", "answer_found", "token_f1", "rouge_1", "rouge_2", "rouge_l", "chrf", "bleu",
    "loss", "perplexity",
]  # fmt: skip


def test_metrics_are_chosen_and_can_be_computed_again_from_the_predictions(writing: Configure) -> None:
    task = {"metrics": EVERY_METRIC, "main_metric": "rouge_l"}
    folder = execute(writing("llama", {"type": "zero_shot"}, task=task), {})
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    tested, rows = metrics["test"], lines(folder / "predictions.jsonl")
    assert next(iter(tested)) == next(iter(metrics["validation"])) == "rouge_l"
    assert set(tested) == {*EVERY_METRIC, "share_stopped", "share_cut", "mean_tokens", "rows", "rows_cut"}
    truth, written = [row["label"] for row in rows], [row["prediction"] for row in rows]
    pattern = AnswerPattern(r"#### (-?[0-9.,]+)")
    for name, metric in WRITTEN.items():
        kept = np.asarray([row["sums"][metric.rows] for row in rows])
        assert metric.of(kept) == pytest.approx(tested[name]["value"])
        assert tested[name]["low"] <= tested[name]["value"] <= tested[name]["high"]
        if name in EVERY_METRIC and metric.rows != "loss":
            assert np.array_equal(kept, text_rows(name, truth, written, pattern))
    assert tested["share_stopped"]["value"] + tested["share_cut"]["value"] == pytest.approx(1)
    assert tested["mean_tokens"]["value"] <= 12
    assert "ROUGE-L on " in (folder / "README.md").read_text(encoding="utf-8")


def test_a_loss_that_nobody_asks_for_is_not_computed(writing: Configure) -> None:
    folder = execute(writing("llama", {"type": "zero_shot"}, task={"metrics": ["token_f1"]}), {})
    tested = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert set(tested) == {"exact_match", "token_f1", "share_stopped", "share_cut", "mean_tokens", "rows"}


def test_by_the_loss_nothing_is_written_on_validation(writing: Configure) -> None:
    folder = execute(writing("llama", {"type": "zero_shot"}, task={"main_metric": "loss"}), {})
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["validation"]) == {"loss", "perplexity"}


@pytest.mark.parametrize(
    ("task", "what"),
    [
        ({"metrics": ["rouge"]}, "task.metrics"),
        ({"main_metric": "perplexity"}, "task.main_metric"),
        ({"metrics": ["answer_found"], "answer_pattern": None}, "set a pattern too"),
    ],
)
def test_metrics_that_are_none_are_refused(task: dict[str, Any], what: str, sums: Path) -> None:
    given = {"data": {"train": str(sums)}, "method": "zero_shot", "task": {"type": "generation"} | task}
    with pytest.raises(ConfigError) as caught:
        build(RunConfig, given)
    assert what in str(caught.value)


def test_completions_without_a_number_are_refused_before_training(writing: Configure, tmp_path: Path) -> None:
    path = tmp_path / "words.jsonl"
    rows = [{"question": f"say {number}?", "answer": f"word {'x' * number}"} for number in range(1, 40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = writing("llama", LORA, task={"metrics": ["number_match"], "answer_pattern": None})
    config = config.model_copy(update={"data": config.data.model_copy(update={"train": str(path)})})
    with pytest.raises(DataError, match=r"number_match, and \d+ of \d+ test rows have no number in their completion"):
        execute(config, {})


def test_training_lowers_the_loss_and_keeps_the_lowest(writing: Configure) -> None:
    config = writing("llama", LORA, num_train_epochs=4, learning_rate=1e-2)
    folder = execute(config, {})
    history = lines(folder / "history.jsonl")
    scored = [line["validation"]["loss"] for line in history if "validation" in line]
    assert len(scored) == 4
    assert scored[-1] < 0.8 * history[0]["loss"]
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["validation"]["loss"] == min(scored)


def test_the_same_settings_give_the_same_bytes(writing: Configure) -> None:
    first, second = (execute(writing("llama", LORA, out), {}) for out in ("first", "second"))
    for name in ("adapter_model.safetensors", "predictions.jsonl", "golden.jsonl", "metrics.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_a_stopped_run_goes_on_to_the_same_bytes(writing: Configure, stop_at: Callable[..., Any]) -> None:
    whole = execute(writing("llama", LORA, "whole"), {})
    config = writing("llama", LORA, "stopped")
    with pytest.raises(KeyboardInterrupt):
        execute(config, {}, watch=stop_at(5))
    stopped = execute(config, {})
    for name in ("adapter_model.safetensors", "predictions.jsonl", "golden.jsonl", "metrics.json"):
        assert (whole / name).read_bytes() == (stopped / name).read_bytes(), name


def test_what_is_too_long_is_counted_and_said(writing: Configure) -> None:
    said: list[str] = []
    config = writing("llama", LORA).model_copy(update={"max_length": 28})
    folder = execute(config, {}, say=said.append)
    told = [sentence for sentence in said if "longer than max_length=28" in sentence]
    assert len(told) == 1
    tested = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert 0 < tested["rows_cut"] <= tested["rows"] == len(lines(folder / "predictions.jsonl"))


def test_columns_are_found_and_said(writing: Configure) -> None:
    said: list[str] = []
    execute(writing("llama", {"type": "zero_shot"}), {}, say=said.append)
    assert said[0] == "Rows read as questions and answers: prompt=question, completion=answer."


def test_an_encoder_is_refused_before_weights_load(writing: Configure) -> None:
    with pytest.raises(IncompatibleError) as caught:
        validate(writing("bert", LORA))
    assert "is an encoder, which reads texts and writes none: task=generation asks for a text" in caught.value.what


@pytest.mark.parametrize(
    ("method", "what"),
    [
        ({"type": "majority"}, "method=majority names one of a few labels, and task=generation asks for a text"),
        ({"type": "head_only"}, "objective=classification answers with a label, and task=generation asks for a text"),
    ],
)
def test_methods_that_name_labels_are_refused(method: dict[str, Any], what: str, writing: Configure) -> None:
    with pytest.raises(IncompatibleError) as caught:
        validate(writing("llama", method))
    assert caught.value.what == what


def test_a_missing_column_names_the_nearest(writing: Configure) -> None:
    with pytest.raises(DataError, match=r"completion=answr: no such column in .*\n  Did you mean 'answer'\?"):
        execute(writing("llama", LORA, task={"completion": "answr"}), {})


def test_an_answer_pattern_that_finds_nothing_is_refused_before_training(writing: Configure) -> None:
    with pytest.raises(DataError, match=r"finds nothing in the completions of \d+ of \d+ test rows, first at .*:\d+"):
        execute(writing("llama", LORA, task={"answer_pattern": "=> ([0-9]+)"}), {})


def test_no_room_for_a_prompt_is_refused(writing: Configure) -> None:
    with pytest.raises(ConfigError, match="max_new_tokens=500 leaves no room for a prompt in max_length=120"):
        execute(writing("llama", LORA, task={"max_new_tokens": 500}), {})


def test_scoring_rows_without_completions_is_refused(writing: Configure) -> None:
    artifact = load(execute(writing("llama", {"type": "zero_shot"}), {}))
    assert len(artifact.predict([{"question": "how many?"}])) == 1
    from rung.types import Record

    with pytest.raises(DataError, match=r"a.jsonl:3: it has no completion to compare with"):
        artifact.evaluate([Record("a", {"question": "how many?", "answer": " "}, "a.jsonl:3")])
    with pytest.raises(DataError, match=r"the run reads column 'question', which is not there. Did you mean to rename"):
        artifact.predict([{"questions": "how many?"}])
