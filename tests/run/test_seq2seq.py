"""Whole runs of encoder-decoders: trained, prompted, scored, written with, loaded again, given away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from rung.artifact import load
from rung.data.readers import read
from rung.errors import ConfigError, IncompatibleError
from rung.models.sources import source_text
from rung.objectives.seq2seq import Seq2Seq
from rung.run import RunConfig, execute, validate
from rung.run.probe import plan_run
from rung.run.showing import shown_rows
from rung.run.start import open_model
from rung.types import Example, Message

LORA = {"type": "lora", "r": 4}
NAMES = ["t5", "bart"]
WORDS = ["joy", "warm", "plot", "prize", "dinner", "dull", "film", "years", "jokes", "call"]

Configure = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def echoes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 rows of `question` and `answer`: a word of the question."""
    path = tmp_path_factory.mktemp("data") / "echoes.jsonl"
    pairs = [(one, other) for one in WORDS for other in WORDS if one != other][:60]
    rows = [{"question": f"{one} and {other}, which first?", "answer": f"it is {one}"} for one, other in pairs]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def writing(echoes: Path, tiny_models: dict[str, Path], tmp_path: Path) -> Configure:
    def made(model: str | Path, method: dict[str, Any], out: str = "out", **training: Any) -> RunConfig:
        body = {
            "data": {"train": str(echoes), "test_size": 0.25, "near_duplicates": False},
            "task": {"type": "generation", "max_new_tokens": 12, "instruction": "Say it."},
            "method": method,
            "training": {"num_train_epochs": 2, "per_device_train_batch_size": 8, "save_steps": 3, **training},
            "model": str(tiny_models[model] if isinstance(model, str) else model),
            "num_threads": 1,
            "max_length": 120,
            "output_dir": str(tmp_path / out),
        }
        return RunConfig.model_validate(body)

    return made


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_encoded_as_transformers_encodes_it(name: str, tiny_models: dict[str, Path]) -> None:
    opened = open_model(str(tiny_models[name]), {"dtype": "float32", "device": "cpu"})
    tokenizer, module = opened.loaded.tokenizer, opened.family.module
    objective = Seq2Seq().on(opened.family)
    example = Example("1", messages=(Message("user", "Say it.\n\nfree prize"),), answer="call now")
    (sequence,) = objective.encode(example, tokenizer, 60).sequences
    source = tokenizer("Say it.\n\nfree prize")["input_ids"]
    labels = tokenizer(text_target="call now")["input_ids"]
    assert sequence.source_ids == tuple(source)
    assert sequence.labels == tuple(labels)
    assert labels[-1] == tokenizer.eos_token_id
    shifted = module.prepare_decoder_input_ids_from_labels(torch.tensor([labels]))
    assert sequence.input_ids == tuple(shifted[0].tolist())
    assert objective.supervised(sequence) == len(labels)
    short = replace(example, messages=(Message("user", "a"),))
    cut = objective.encode(short, tokenizer, len(labels) - 1)
    assert cut.truncated == 1
    assert cut.sequences[0].labels == tuple(labels[:-1])


def test_special_tokens_that_people_write_are_letters(tiny_models: dict[str, Path]) -> None:
    opened = open_model(str(tiny_models["bart"]), {"dtype": "float32", "device": "cpu"})
    tokenizer = opened.loaded.tokenizer
    objective = Seq2Seq().on(opened.family)
    example = Example("1", messages=(Message("user", "no </s> end"),), answer="a </s> b")
    (sequence,) = objective.encode(example, tokenizer, 60).sequences
    end = tokenizer.eos_token_id
    assert (sequence.source_ids or ()).count(end) == 1
    assert (sequence.labels or ()).count(end) == 1
    assert objective.text(tokenizer, (sequence.labels or ())[:-1]) == "a </s> b"


def test_solved_examples_stand_before_the_question() -> None:
    turns = (Message("user", "Say it.\n\none"), Message("assistant", "1"), Message("user", "two"))
    assert source_text(turns) == "Say it.\n\none\nAnswer: 1\n\ntwo\nAnswer:"
    assert source_text(turns[:1]) == "Say it.\n\none"


METHODS = [
    {"type": "zero_shot"},
    {"type": "few_shot", "num_shots": 1},
    LORA,
    {"type": "full"},
    {"type": "soft_prompt", "num_virtual_tokens": 4},
    {"type": "prefix", "num_virtual_tokens": 4},
]


@pytest.mark.parametrize("method", METHODS, ids=lambda one: one["type"])
@pytest.mark.parametrize("name", NAMES)
def test_a_run_writes_and_answers_alike_when_loaded(name: str, method: dict[str, Any], writing: Configure) -> None:
    folder = execute(writing(name, method), {})
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    rows = lines(folder / "predictions.jsonl")
    assert metrics["test"]["rows"] == len(rows) > 10
    assert metrics["test"]["mean_tokens"]["value"] <= 12
    if method["type"] not in {"zero_shot", "few_shot"}:
        assert metrics["forgetting"]["kind"] == "loss"
    artifact = load(folder)
    assert artifact.verify(all=True) == []
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert run["base"]["kind"] == "encoder_decoder"
    asked = {record.id: record for record in read(run["resolved"]["data"]["train"], None).records}
    again = artifact.predict([asked[row["id"]] for row in rows])
    assert [one.label for one in again] == [row["prediction"] for row in rows]


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_chosen_by_their_likelihood(name: str, configure: Configure) -> None:
    folder = execute(configure(name, LORA, num_train_epochs=4, learning_rate=2e-2), {})
    history = lines(folder / "history.jsonl")
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert 0 <= metrics["test"]["macro_f1"]["value"] <= 1
    assert load(folder).verify(all=True) == []
    plain = execute(configure(name, {"type": "few_shot", "num_shots": 2}, "shots"), {})
    assert load(plain).verify(all=True) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_full_model_is_transformers_own_and_can_be_gone_on_from(name: str, writing: Configure) -> None:
    folder = execute(writing(name, {"type": "full"}, "first", learning_rate=1e-2), {})
    module, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = lines(folder / "predictions.jsonl")[:6]
    artifact = load(folder)
    asked = {record.id: record for record in read(artifact.config.data.train, None).records}
    for row in rows:
        source = tokenizer("Say it.\n\n" + asked[row["id"]].fields["question"], return_tensors="pt")
        kinds = {"do_sample": False, "num_beams": 1, "forced_eos_token_id": None}
        ids = module.generate(**source, max_new_tokens=12, **kinds)[0]
        assert tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == row["prediction"]
    second = execute(writing(folder, LORA, "second"), {})
    assert load(second).verify(all=True) == []


def test_a_fresh_process_answers_alike(writing: Configure, tmp_path: Path) -> None:
    folder = execute(writing("t5", LORA), {})
    rows = lines(folder / "predictions.jsonl")
    artifact = load(folder)
    asked = {record.id: record for record in read(artifact.config.data.train, None).records}
    given, out = tmp_path / "asked.jsonl", tmp_path / "answers.jsonl"
    given.write_text("".join(json.dumps(dict(asked[row["id"]].fields)) + "\n" for row in rows), encoding="utf-8")
    command = [sys.executable, "-m", "rung", "predict", str(folder), str(given), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ), timeout=250)
    assert done.returncode == 0, done.stderr
    assert [row["prediction"] for row in lines(out)] == [row["prediction"] for row in rows]


def test_a_stopped_run_goes_on_to_the_same_bytes(writing: Configure, stop_at: Callable[..., Any]) -> None:
    whole = execute(writing("bart", LORA, "whole"), {})
    config = writing("bart", LORA, "stopped")
    with pytest.raises(KeyboardInterrupt):
        execute(config, {}, watch=stop_at(5))
    stopped = execute(config, {})
    for name in ("adapter_model.safetensors", "predictions.jsonl", "golden.jsonl", "metrics.json"):
        assert (whole / name).read_bytes() == (stopped / name).read_bytes(), name


def test_rows_are_shown_with_both_sides_and_planned(writing: Configure) -> None:
    config = writing("t5", LORA)
    first = next(iter(shown_rows(config, "train", 1)))
    assert "Say it." in first
    assert "⟦it is" in first
    plan = plan_run(config, timed=False)
    assert plan["forecast"]["steps"] == 2 * -(-plan["rows"]["train"] // 8)
    assert plan["forecast"]["flops"] > 0
    assert plan["forecast"]["tokens"] <= plan["forecast"]["distinct_tokens"]


def test_texts_too_long_on_either_side_are_cut_and_counted(writing: Configure) -> None:
    said: list[str] = []
    config = writing("t5", LORA)
    task = config.task.model_copy(update={"max_new_tokens": 4})
    execute(config.model_copy(update={"max_length": 12, "task": task}), {}, say=said.append)
    assert any("longer than max_length=12" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("method", "objective", "what"),
    [
        (LORA, "causal_lm", "objective=causal_lm predicts the next token"),
        (LORA, "classification", "objective=classification reads a text off one stack of layers"),
        ({"type": "head_only"}, None, "method=head_only reads a text off one stack of layers"),
        (
            {"type": "prompt_search", "budget": {"evaluations": 400}},
            None,
            "method=prompt_search has instructions written",
        ),
    ],
)
def test_what_has_no_meaning_here_is_refused(
    method: dict[str, Any], objective: str | None, what: str, configure: Configure
) -> None:
    body = configure("t5", method).model_dump(mode="json")
    with pytest.raises(IncompatibleError) as caught:
        validate(RunConfig.model_validate(body | {"objective": objective and {"type": objective}}))
    assert caught.value.what.startswith(what)


def test_answers_longer_than_a_side_are_refused(writing: Configure) -> None:
    config = writing("bart", LORA)
    task = config.task.model_copy(update={"max_new_tokens": 121})
    with pytest.raises(ConfigError, match="max_new_tokens=121 is more than an answer may have: max_length=120 holds"):
        execute(config.model_copy(update={"task": task}), {})
