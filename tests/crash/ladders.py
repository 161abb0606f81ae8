"""Ladders killed at random moments: the same command finishes them and repeats nothing that was finished."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from commands import Bench, timeless_content


def kills(bench: Bench, number: int) -> Iterator[tuple[str, str]]:
    """Kill a ladder `number` times over, each time from its very start; a verdict a kill."""
    began = time.monotonic()
    wanted = _ladder(bench, "wanted")
    assert _climb(wanted).wait() == 0
    seconds = time.monotonic() - began
    chance = random.Random(0)
    for kill in range(number):
        settings = _ladder(bench, f"killed-{kill}")
        # From where the first rungs begin: before that there is nothing to lose.
        moment = chance.uniform(0.3, 0.95) * seconds
        running = _climb(settings)
        try:
            running.wait(moment)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
        before = _finished(settings)
        code = _climb(settings).wait()
        after = _finished(settings)
        wrong = f"exit code {code}: {_said(settings)[-500:]}" if code else _differs(wanted, settings)
        if not wrong and any(after[name] != before[name] for name in before):
            wrong = "a finished rung was run again"
        yield f"ladder killed after {moment:.1f} s", wrong


def _ladder(bench: Bench, name: str) -> Path:
    home = bench.folder / f"ladder-{name}"
    home.mkdir()
    bert = {"name": str(bench.folder / "models" / "bert"), "methods": [{"type": "lora", "r": 2}]}
    settings = {
        "data": {"train": str(bench.folder / "rows.csv"), "test_size": 0.25, "near_duplicates": False},
        "models": [bert],
        "controls": ["majority"],
        "seeds": [1, 2],
        "training": {"num_train_epochs": 2, "per_device_train_batch_size": 8, "save_steps": 2},
        "learning_curve": False,
        "num_threads": 1,
        "output_dir": str(home / "out"),
    }
    path = home / "ladder.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def _climb(settings: Path) -> subprocess.Popen[bytes]:
    with settings.with_name("said").open("wb") as said:
        command = [sys.executable, "-m", "rung", "climb", str(settings)]
        return subprocess.Popen(command, stdout=said, stderr=said, env=os.environ)


def _said(settings: Path) -> str:
    return settings.with_name("said").read_text(encoding="utf-8", errors="replace")


def _finished(settings: Path) -> dict[str, tuple[int, bytes]]:
    """Each finished rung's `run.json`: when it was written, and its bytes."""
    paths = settings.parent.glob("out/runs/**/run.json")
    return {str(path.parent): (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def _differs(wanted: Path, settings: Path) -> str:
    """What of the rungs' results, and of what the report says of them, is not as an undisturbed ladder has it."""
    found, right = _results(settings), _results(wanted)
    return ", ".join(sorted(name for name in right | found if right.get(name) != found.get(name)))


def _results(settings: Path) -> dict[str, bytes]:
    out = settings.parent / "out"
    suffixes = {".safetensors", ".jsonl"}
    paths = [path for path in sorted(out.glob("runs/**/*")) if path.suffix in suffixes or path.name == "metrics.json"]
    files = {path.relative_to(out).as_posix(): timeless_content(path) for path in paths}
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    statuses = {rung["name"]: [rung["status"], rung["metrics"]] for rung in report["rungs"]}
    return {**files, "report": json.dumps(statuses, sort_keys=True).encode()}
