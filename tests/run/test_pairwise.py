"""A judge between two runs: both orders asked, its preference for a place found out and told."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rung.cli.app import main
from rung.config.validation import build
from rung.errors import ArtifactError, IncompatibleError
from rung.run import RunConfig, execute
from rung.run.pairwise import Ask, judged, pairs_of, summary
from rung.types import Prediction, Record

PAIRS = [
    {"id": str(at), "asked": "how many?", "reference": "ten", "one": "x" * (at + 1), "other": "x" * (10 - at)}
    for at in range(10)
]
PAIRS.append({"id": "same", "asked": "how many?", "reference": "ten", "one": "ten ", "other": "ten"})


def judge_by(rule: Callable[[Record], str]) -> Ask:
    def ask(records: Sequence[Record]) -> list[Prediction]:
        return [Prediction(record.id, rule(record)) for record in records]

    return ask


def test_a_judge_with_a_reason_is_followed() -> None:
    longer = judge_by(lambda record: "A" if len(record.fields["a"]) > len(record.fields["b"]) else "B")
    found = summary(judged(PAIRS, longer))
    assert {name: found[name] for name in ("rows", "wins", "losses", "ties", "alike")} == {
        "rows": 11,
        "wins": 5,
        "losses": 5,
        "ties": 1,
        "alike": 1,
    }
    assert found["win_rate"]["value"] == 0.5
    assert found["win_rate"]["low"] < 0.5 < found["win_rate"]["high"]
    assert found["first_place"] == 0.5 and found["consistent"] == 1.0


def test_a_judge_that_prefers_a_place_decides_nothing() -> None:
    found = summary(judged(PAIRS, judge_by(lambda _: "A")))
    assert (found["wins"], found["losses"], found["ties"]) == (0, 0, 11)
    assert found["first_place"] == 1.0 and found["consistent"] == 0.0


def test_a_judge_that_names_neither_decides_nothing() -> None:
    found = summary(judged(PAIRS, judge_by(lambda _: "neither")))
    assert found["ties"] == 11 and found["first_place"] == 0.0 and found["consistent"] == 0.0


def test_texts_that_are_alike_are_nobodys_to_judge() -> None:
    seen: list[str] = []
    judged(PAIRS, judge_by(lambda record: seen.append(record.id) or "B"))
    assert len(seen) == 20 and not any(one.startswith("same") for one in seen)
    found = summary(judged(PAIRS[-1:], judge_by(lambda _: "A")))
    assert (found["ties"], found["first_place"], found["consistent"]) == (1, None, None)


def test_the_right_answer_is_shown_unless_told_otherwise() -> None:
    seen: list[Any] = []
    watch = judge_by(lambda record: seen.append(record.fields["reference"]) or "A")
    judged(PAIRS[:1], watch)
    judged(PAIRS[:1], watch, shows_reference=False)
    assert seen == ["ten", "ten", "", ""]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> dict[str, Path]:
    """Two runs on the same rows, one on others, one that names labels."""
    folder = tmp_path_factory.mktemp("judged")
    chance = random.Random(0)
    rows = [{"question": f"say word{chance.randint(0, 60)}", "answer": f"word{at % 7} it is"} for at in range(40)]
    for name, part in (("rows", rows), ("fewer", rows[:30])):
        lines = "".join(json.dumps(row) + "\n" for row in part)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    labelled = [json.dumps({"text": f"word{at} here", "label": ("good", "bad")[at % 2]}) + "\n" for at in range(40)]
    (folder / "labelled.jsonl").write_text("".join(labelled), encoding="utf-8")

    def run(name: str, data: str, method: Any, **task: Any) -> Path:
        body = {
            "data": {"train": str(folder / f"{data}.jsonl"), "near_duplicates": False, "test_size": 0.3},
            "task": {"type": "generation", "max_new_tokens": 6, **task},
            "model": str(tiny_models["llama"]),
            "method": method,
            "training": {"num_train_epochs": 1, "learning_rate": 0.01},
            "num_threads": 1,
            "max_length": 256,
            "output_dir": str(folder / name),
        }
        if data == "labelled":
            body["task"] = {"type": "classification"}
        return execute(build(RunConfig, body), {})

    return {
        "plain": run("plain", "rows", "zero_shot"),
        "tuned": run("tuned", "rows", {"type": "lora", "r": 2}),
        "fewer": run("fewer-run", "fewer", "zero_shot"),
        "labels": run("labels", "labelled", "zero_shot"),
        "model": tiny_models["llama"],
    }


def test_a_model_judges_what_runs_wrote(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "verdicts.jsonl"
    words = ["judge", str(runs["tuned"]), str(runs["plain"]), "--by", str(runs["model"])]
    assert main([*words, "--output", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    pairs = pairs_of(runs["tuned"], runs["plain"])
    assert told["rows"] == len(rows) == len(pairs) > 5
    assert told["wins"] + told["losses"] + told["ties"] == told["rows"]
    assert told["win_rate"]["value"] == pytest.approx(sum(row["score"] for row in rows) / len(rows))
    assert main(["judge", str(runs["plain"]), str(runs["tuned"]), "--by", str(runs["model"]), "--json"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert (other["wins"], other["losses"]) == (told["losses"], told["wins"]), "the order of the runs has a say"
    assert main([*words, "--rows", "3"]) == 0
    assert "win rate of" in capsys.readouterr().out


def test_runs_that_can_not_be_judged_are_refused(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(IncompatibleError, match="answers are labels"):
        pairs_of(runs["labels"], runs["plain"])
    with pytest.raises(ArtifactError, match="same test rows"):
        pairs_of(runs["fewer"], runs["plain"])
    for words, said in (
        (["--rows", "0"], "--rows 0"),
        (["--by", "bert-tiny"], "can't judge texts"),
        (["criterion=x"], "criteria"),
    ):
        given = words if "--by" in words else [*words, "--by", str(runs["model"])]
        assert main(["judge", str(runs["tuned"]), str(runs["plain"]), *given]) != 0
        assert said in capsys.readouterr().err
