"""Killed at several sizes of its journal, the same command goes on to the same bytes and asks nothing twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from rung.synth.grow import grow
from rung.synth.settings import SynthConfig

FILES = ("instructions.jsonl", "rejected.jsonl")


def command(settings: dict[str, Any], folder: Path) -> list[str]:
    path = folder / "synth.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return [sys.executable, "-m", "rung", "data", "synth", str(path)]


def journal(out: Path) -> list[str]:
    path = out / "answers.jsonl"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def kill_at(words: list[str], out: Path, size: int) -> bool:
    """Run until the journal has so many lines, then kill; whether it was killed."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(journal(out)) < size:
            time.sleep(0.01)
        killed = process.poll() is None
        process.send_signal(signal.SIGKILL)
    return killed


def finish(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["endpoint", "local"])
def test_a_kill_loses_nothing(kind: str, configure, server, tiny_models, tmp_path) -> None:
    tiny = {"max_new_tokens": 30, "filters": {"least_words": 1, "language": "any"}, "rounds": 8, "wanted": 50}
    given = {"endpoint": {"wanted": 14}, "local": {"model": str(tiny_models["llama"]), **tiny}}[kind]
    server.delay = 0.05
    settings = configure("killed", **given).model_dump(mode="json")
    out = tmp_path / "killed"
    words = command(settings, tmp_path)
    kills = 0
    for size in (2, 5):
        kills += kill_at(words, out, size)
    assert kills == 2
    asked = server.seen.copy()
    table = finish(words)
    assert "accepted" in table
    keys = [json.loads(line)["key"] for line in journal(out)[1:]]
    assert len(keys) == len(set(keys))
    # What was under way when it was killed may have to be asked again: a batch for each kill.
    assert sum(count - 1 for count in server.seen.values()) <= kills * 32
    if kind == "endpoint":
        assert asked.total() > 0
    plain = tmp_path / "plain"
    grow(SynthConfig.model_validate({**settings, "output_dir": str(plain)}))
    for name in FILES:
        assert (out / name).read_bytes() == (plain / name).read_bytes()
    assert (out / "rejected.jsonl").stat().st_size > 0


def test_a_signal_ends_it_in_good_order(configure, server, tmp_path) -> None:
    server.delay = 0.2
    words = command(configure(wanted=400, rounds=90).model_dump(mode="json"), tmp_path)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while len(journal(tmp_path / "out")) < 2:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped. Finished work is kept; the same command goes on: rung data synth" in said
    assert "Traceback" not in said
