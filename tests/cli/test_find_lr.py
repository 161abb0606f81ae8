from __future__ import annotations

import csv
import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import rung
from rung.cli.app import main


@pytest.fixture
def words(tiny_models: dict[str, Path], tmp_path: Path):
    """The command that trains a small adapter on a tiny encoder, into a folder of the given name."""
    draw = random.Random(0)
    rows = tmp_path / "rows.csv"
    with rows.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(120):
            label, telling = ("good", ["joy", "warm", "well"]) if number % 2 else ("bad", ["dull", "poor", "worst"])
            writer.writerow(
                [" ".join([f"row{number}", *draw.choices(telling, k=3), *draw.choices("abcd", k=4)]), label]
            )

    def made(out: str, *more: str) -> list[str]:
        given = [f"data.train={rows}", f"model={tiny_models['bert']}", "method={type: lora, r: 4}"]
        how = ["data.near_duplicates=false", "training.num_train_epochs=2", "num_threads=1"]
        return ["train", *given, *how, f"output_dir={tmp_path / out}", *more]

    return made


def trials(folder: Path) -> list[dict[str, Any]]:
    body = json.loads((folder / "find_lr.json").read_text(encoding="utf-8"))
    return [{name: value for name, value in one.items() if name != "seconds"} for one in body["trials"]]


def test_the_search_is_shown_and_the_run_is_that_of_the_rate_given(words, tmp_path: Path, capsys):
    assert main(words("found", "--find-lr")) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path / 'found'}\n"
    said = shown.err.splitlines()
    assert re.match(r"Looking for a learning rate from \S+ to \S+: 8 trials of at most 12 steps, judged by ", said[0])
    assert re.match(r"  1 of 8: learning_rate \S+, validation loss \d", said[1])
    rate = json.loads((tmp_path / "found" / "run.json").read_text())["resolved"]["training"]["learning_rate"]
    assert said[9].startswith(f"learning_rate={rate:.3g} is taken.")
    assert main(words("given", f"training.learning_rate={rate}")) == 0
    for file in ("adapter_model.safetensors", "predictions.jsonl", "metrics.json"):
        assert (tmp_path / "found" / file).read_bytes() == (tmp_path / "given" / file).read_bytes(), file
    capsys.readouterr()
    assert main(words("found", "--find-lr")) == 0
    again = capsys.readouterr().err
    assert f"learning_rate={rate:.3g} was found before ({tmp_path / 'found' / 'find_lr.json'})." in again
    assert "finished: reused" in again


@pytest.mark.crash
def test_a_killed_search_goes_on(words, tmp_path: Path, capsys):
    assert main(words("whole", "--find-lr")) == 0
    kept = tmp_path / "killed" / "find_lr.json"
    command = [sys.executable, "-m", "rung", *words("killed", "--find-lr")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        while running.poll() is None and not (kept.exists() and len(trials(kept.parent)) >= 3):
            time.sleep(0.005)
        running.kill()
    assert running.returncode == -signal.SIGKILL
    before = kept.read_text()
    ended = len(trials(kept.parent))
    capsys.readouterr()
    assert main(words("killed", "--find-lr")) == 0
    assert capsys.readouterr().err.count(", kept from before") == ended
    after = json.loads(kept.read_text())["trials"]
    assert after[:ended] == json.loads(before)["trials"]
    assert trials(tmp_path / "killed") == trials(tmp_path / "whole")
    for file in ("adapter_model.safetensors", "predictions.jsonl", "metrics.json"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file


def test_where_there_is_nothing_to_find_it_is_refused(words, capsys):
    assert main(words("out", "method=tfidf", "--find-lr")) == 2
    assert capsys.readouterr().err == (
        "error: --find-lr with method=tfidf: it is not trained by steps, so there is no learning rate to find\n"
        "  Leave --find-lr out, or choose a method that trains weights, for example method=lora.\n"
    )
    assert main(words("out", "training.learning_rate=0.01", "--find-lr")) == 2
    assert "--find-lr and training.learning_rate=0.01: the rate is given" in capsys.readouterr().err
    assert main(words("out", "--find-lr", "--accept", "training")) == 2
    assert "leave --find-lr out" in capsys.readouterr().err


def test_the_same_in_python(words, tmp_path: Path):
    said: list[str] = []
    _, *settings = words("python", "training.max_steps=4")
    artifact = rung.train({}, *settings, find_lr=True, echo=said.append)
    assert said[9].startswith("learning_rate=")
    assert len(trials(tmp_path / "python")) == 8
    assert artifact.predict([{"text": "joy warm well"}])[0].label in {"good", "bad"}


def test_a_ladder_has_no_such_option(tmp_path: Path, capsys):
    assert main(["climb", str(tmp_path / "ladder.yaml"), "--find-lr"]) == 2
    assert "--find-lr" in capsys.readouterr().err


def test_the_help_shows_how(capsys):
    assert main(["train", "--help"]) == 0
    assert "rung train run.yaml --find-lr" in capsys.readouterr().out
