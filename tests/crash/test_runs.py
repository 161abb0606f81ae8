"""Real runs, disturbed: the short form of `make crash`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.crash


def test_disturbed_runs_end_in_the_bytes_of_an_undisturbed_one(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("crash.py")), "--short", "--json", str(tmp_path / "found")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    lines = json.loads((tmp_path / "found").read_text())["lines"]
    assert [line["promise"] for line in lines if not line["points"]] == []
    assert sum(line["exact"] for line in lines) == sum(line["points"] for line in lines)


def test_a_result_that_differs_is_noticed(tmp_path: Path) -> None:
    script = """
import sys, tempfile
from pathlib import Path
from commands import KINDS, Bench
from faults import Subject
subject = Subject(Bench.build(Path(sys.argv[1])), next(iter(KINDS)))
run = subject.new("other")
assert run.end(lambda: None, "training.seed=7") == 0, run.said
print(run.differs(subject.wanted))
"""
    here = Path(__file__).parent
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(here)!r})\n{script}", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    differing = done.stdout.splitlines()[-1].split(", ")
    assert {"adapter_model.safetensors", "history.jsonl", "optimizer", "run.json"} <= set(differing)
