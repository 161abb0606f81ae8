"""Prompt methods in whole runs: what the journal keeps, what a kill costs, what stands in the artifact."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rung.artifact import load
from rung.data.templates import render
from rung.errors import ArtifactError, ConfigError
from rung.evaluate.flips import TokenFlips
from rung.evaluate.predictor import LocalPredictor
from rung.evaluate.writing import LocalWriter
from rung.run import RunConfig, execute
from rung.run.journal import DurableJournal
from rung.run.prepare import adapt, prepare_data
from rung.run.start import open_model
from rung.tasks.classification import ClassificationConfig
from rung.types import Message, Record

Configure = Callable[..., RunConfig]
SEARCH = {
    "type": "prompt_search",
    "budget": {"evaluations": 260},
    "max_shots": 1,
    "width": 2,
    "first_rows": 8,
    "max_validation_rows": 24,
}
PROPOSERS = [{"type": name} for name in ("edit", "rewrite", "reflect", "gradient")]


def body(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def keys(folder: Path) -> list[str]:
    lines = (folder / "search.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["key"] for line in lines[1:]]


def without_seconds(found: dict[str, Any]) -> dict[str, Any]:
    kept = dict(found)
    for part in (kept, kept.get("baseline", {})):
        part["spent"] = {name: value for name, value in part["spent"].items() if name != "seconds"}
    return kept


@pytest.fixture
def searched(configure: Configure) -> RunConfig:
    return configure("llama", SEARCH | {"proposers": PROPOSERS[:2]})


def test_a_search_leaves_what_it_tried_and_what_the_test_rows_say(searched: RunConfig) -> None:
    said: list[str] = []
    folder = execute(searched, {}, say=said.append)
    found, metrics = body(folder / "search.json"), body(folder / "metrics.json")
    assert found["prompt"] == body(folder / "prompt.json")
    assert found["test"]["scores"]["chosen"]["value"] == pytest.approx(metrics["test"]["macro_f1"]["value"])
    assert set(found["test"]["differences"]) == {"plain", "chance"}
    for gap in found["test"]["differences"].values():
        assert gap["low"] <= gap["value"] <= gap["high"]
    assert [sentence for sentence in said if sentence.startswith("Prompt search against")] == found["sentences"]
    assert found["spent"]["evaluations"] <= 260
    assert found["baseline"]["spent"]["evaluations"] <= found["spent"]["evaluations"]
    cost = body(folder / "cost.json")
    assert cost["search_seconds"] > 0
    assert cost["tokens_per_request"] > 0
    artifact = load(folder)
    record = prepare_data(searched)[0].splits.test[0]
    (turn,) = body(folder / "prompt_messages.json")[-1:]
    shown = artifact.task.render(record, artifact.task.prompt).messages
    fields = dict(record.fields)
    assert render(turn["content"], {**fields, "this": fields}) == shown[-1].content
    assert (folder / "prompt.txt").read_text(encoding="utf-8").strip()
    assert artifact.verify(all=True) == []


def test_the_rows_a_prompt_is_tuned_on_are_never_test_rows(searched: RunConfig) -> None:
    folder = execute(searched, {})
    splits = prepare_data(searched)[0].splits
    lines = (folder / "search.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    asked = {row for line in lines for row in json.loads(line).get("rows", ())}
    assert asked
    assert asked <= {record.id for record in splits.validation}
    assert not asked & {record.id for record in splits.test}


def test_a_killed_search_repeats_no_evaluation_and_ends_alike(
    searched: RunConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = execute(searched.model_copy(update={"output_dir": str(tmp_path / "whole")}), {})
    every = keys(whole)
    put = DurableJournal.put

    def dying(self: DurableJournal, key: str, value: Any) -> None:
        if len(self._kept) >= len(every) // 2:
            raise KeyboardInterrupt
        put(self, key, value)

    monkeypatch.setattr(DurableJournal, "put", dying)
    with pytest.raises(KeyboardInterrupt):
        execute(searched, {})
    monkeypatch.undo()
    folder = Path(searched.output_dir)
    half = (folder / "search.jsonl").read_bytes()
    (folder / "search.jsonl").write_bytes(half + b'{"key": "torn')
    assert execute(searched, {}) == folder
    assert (folder / "search.jsonl").read_bytes().startswith(half)
    assert keys(folder) == every
    assert len(set(every)) == len(every), "nothing is evaluated twice"
    for file in ("prompt.json", "predictions.jsonl", "golden.jsonl", "prompt.txt", "prompt_messages.json"):
        assert (folder / file).read_bytes() == (whole / file).read_bytes(), file
    assert without_seconds(body(folder / "search.json")) == without_seconds(body(whole / "search.json"))


def test_a_journal_of_another_search_is_refused(searched: RunConfig) -> None:
    folder = Path(searched.output_dir)
    DurableJournal(folder / "search.jsonl", "another").put("x", {"value": [], "seconds": 1.0})
    with pytest.raises(ArtifactError, match="holds an unfinished search of other settings or rows"):
        execute(searched, {})
    with (folder / "search.jsonl").open("a", encoding="utf-8") as file:
        file.write("{}\n")
    with pytest.raises(ArtifactError, match=r"search\.jsonl:3 is damaged"):
        DurableJournal(folder / "search.jsonl", "another")


def test_a_journal_tells_what_it_was_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "search.jsonl"
    journal = DurableJournal(path, "run")
    assert not path.exists(), "a run that evaluates nothing leaves no journal"
    journal.put("a", {"value": ["x"], "seconds": 1.5})
    journal.put("b", {"value": ["y"], "seconds": 2.0})
    assert journal.replayed == 0.0
    again = DurableJournal(path, "run")
    assert again.get("a") == {"value": ["x"], "seconds": 1.5}
    assert again.get("a") is not None
    assert again.get("c") is None
    assert again.replayed == 1.5


@pytest.fixture
def local(configure: Configure, tiny_models: dict[str, Path]) -> tuple[LocalPredictor, Any, Any]:
    data, task = prepare_data(configure("llama", SEARCH))
    opened = open_model(str(tiny_models["llama"]), {"dtype": "float32", "device": "cpu"})
    adapted = adapt(None, opened, task, None, 0)
    return LocalPredictor(adapted, opened.loaded.tokenizer, task, None, 200), adapted, data


def test_flips_change_one_token_each_and_are_read_as_they_were_meant(local: tuple[LocalPredictor, Any, Any]) -> None:
    predictor, adapted, data = local
    prompt, rows = predictor.task.prompt, data.splits.train[:6]
    flips = TokenFlips(predictor, adapted)
    found = flips.flips(rows, prompt, 12)
    assert len(found) == len(set(found)) == 12
    tokenizer = predictor.tokenizer
    ids = tokenizer(prompt.instruction, add_special_tokens=False)["input_ids"]
    for text in found:
        other = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert sum(one != two for one, two in zip(ids, other, strict=True)) == 1
    assert flips.flips(rows, prompt, 12) == found


SPAM = [
    ("WINNER!! Claim your free prize now, call 0900 1234", "spam"), ("are you home for dinner tonight?", "ham"),
    ("URGENT! Your account won 1000 pounds, reply YES", "spam"), ("ok see you at the station at five", "ham"),
    ("Free ringtones! Text TONE to 8080 today", "spam"), ("sorry i missed your call, was asleep", "ham"),
]  # fmt: skip


def test_flips_make_the_right_answers_of_a_real_model_likelier(smollm2_path: Path) -> None:
    task = ClassificationConfig(instruction="Is this message spam?").resolve(
        "text", None, "label", ("ham", "spam"), ("text", "label")
    )
    rows = [Record(str(at), {"text": text, "label": label}, "x") for at, (text, label) in enumerate(SPAM)]
    opened = open_model(str(smollm2_path), {"dtype": "float32", "device": "cpu"})
    adapted = adapt(None, opened, task, None, 0)
    predictor = LocalPredictor(adapted, opened.loaded.tokenizer, task, None, 512)

    def log_share(instruction: str) -> float:
        shares = [one.probabilities for one in predictor.predict(rows, replace(task.prompt, instruction=instruction))]
        truth = [task.labels.index(str(task.truth(row))) for row in rows]
        return sum(math.log(one[at]) for one, at in zip(shares, truth, strict=True) if one is not None)

    found = TokenFlips(predictor, adapted).flips(rows, task.prompt, 16)
    assert len(found) == 16
    assert max(map(log_share, found)) > log_share(task.prompt.instruction)


def test_the_gradient_is_that_of_the_plain_path(local: tuple[LocalPredictor, Any, Any]) -> None:
    predictor, adapted, data = local
    flips = TokenFlips(predictor, adapted)
    ids = predictor.request_ids(data.splits.train[0], predictor.task.prompt)
    answer = tuple(predictor.answer("good"))
    total, gradient = flips._one(ids, answer, range(3, 9))
    module = adapted.family.module
    embedded = adapted.family.embedding(torch.tensor([[*ids, *answer[:-1]]])).detach().requires_grad_(True)
    logits = module(inputs_embeds=embedded).logits[0, len(ids) - 1 :].float().log_softmax(-1)
    wanted = logits[range(len(answer)), list(answer)].sum()
    (other,) = torch.autograd.grad(wanted, embedded)
    assert float(total) == pytest.approx(float(wanted.detach()), rel=1e-4)
    torch.testing.assert_close(gradient, other[0, 3:9], rtol=1e-3, atol=1e-5)


def test_a_gradient_search_runs_whole(configure: Configure) -> None:
    method = SEARCH | {"proposers": PROPOSERS[2:], "max_shots": 0, "baseline": False, "budget": {"evaluations": 160}}
    found = body(execute(configure("llama", method), {}) / "search.json")
    assert "gradient" in {line["origin"] for line in found["tried"]}
    assert set(found["test"]["differences"]) == {"plain"}
    assert "baseline" not in found


def test_a_local_model_writes_and_an_encoder_does_not(
    local: tuple[LocalPredictor, Any, Any], configure: Configure, tiny_models: dict[str, Path]
) -> None:
    predictor, adapted, _ = local
    writer = LocalWriter(adapted, predictor.tokenizer, 60)
    chats = [[Message("user", "say it")], [Message("user", "word " * 200)]]
    texts = writer.write(chats, 8)
    assert len(texts) == 2
    assert texts == writer.write(chats, 8)
    assert writer.written_tokens(chats, texts) > 200
    method = SEARCH | {"proposers": [{"type": "rewrite", "model": str(tiny_models["bert"])}]}
    with pytest.raises(ConfigError, match="is of kind encoder, and instructions are written by a decoder"):
        execute(configure("llama", method), {})
