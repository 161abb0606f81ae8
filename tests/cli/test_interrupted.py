"""Rungs that fail, are killed or are interrupted: the others stand, nothing is left running, the command goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from rung.cli.app import main

pytestmark = pytest.mark.crash


def until(found: Callable[[], Any]) -> Any:
    """What `found` gives once it gives something."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it never came")


def start(*words: object) -> subprocess.Popen[str]:
    """The command line in a process group of its own, as a shell would start it."""
    command = [sys.executable, "-m", "rung", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def child_of(running: subprocess.Popen[str], rung: str) -> psutil.Process | None:
    """The process of a rung, once it is there: a fork is told by the log that it writes."""
    for child in psutil.Process(running.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if any(f"{rung}/given.json" in word for word in child.cmdline()):
                return child
            if any(f"{rung}/child.log" in file.path for file in child.open_files()):
                return child
    return None


def finished(runs: Path) -> dict[str, tuple[int, bytes]]:
    """Each finished run's `run.json`: when it was written, and its bytes."""
    return {path.parent.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in runs.glob("*/run.json")}


def test_rungs_that_fail_are_rows_and_the_others_go_on(fresh):
    (fresh.models["llama"] / "tokenizer.json").write_text("{")
    bert = {"name": str(fresh.models["bert"]), "methods": ["head_only", {"type": "lora", "r": 4}]}
    llama = {"name": str(fresh.models["llama"]), "methods": ["few_shot"]}
    with start("climb", fresh.write(models=[bert, llama])) as running:
        until(lambda: child_of(running, "head_only-bert")).kill()
        shown, said = running.communicate(timeout=300)
    assert running.returncode == 0, said
    assert "Traceback" not in said
    reasons = {rung["name"]: (rung["status"], rung.get("reason", "")) for rung in fresh.report()["rungs"]}
    assert reasons["majority"][0] == reasons["lora-bert"][0] == "finished"
    assert reasons["head_only-bert"] == (
        "failed",
        "its process was killed (signal 9), most likely for want of memory: a smaller model or batch needs less",
    )
    status, reason = reasons["few_shot-llama"]
    assert status == "failed"
    assert reason.startswith(f"{fresh.models['llama']}: its tokenizer can't be loaded: ")
    assert "head_only-bert: failed: its process was killed (signal 9)" in shown.replace("\n", " ")


def test_ctrl_c_keeps_what_is_finished_and_leaves_nothing_running(place):
    shutil.rmtree(place.runs / "lora-bert")
    before = finished(place.runs)
    with start("climb", place.settings) as running:
        child = until(lambda: child_of(running, "lora-bert"))
        os.killpg(running.pid, signal.SIGINT)
        shown, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert shown == ""
    assert said.endswith(f"stopped. Finished work is kept; the same command goes on: rung climb {place.settings}\n")
    assert "Traceback" not in said
    assert not child.is_running()
    assert finished(place.runs) == before
    assert place.statuses()["lora-bert"] == "pending"
    assert place.statuses()["few_shot-llama"] == "finished"


def test_a_killed_climb_takes_its_rung_along_and_goes_on_later(place, capsys):
    shutil.rmtree(place.runs / "lora-bert")
    before = finished(place.runs)
    with start("climb", place.settings) as running:
        child = until(lambda: child_of(running, "lora-bert"))
        running.kill()
        running.communicate(timeout=60)
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert finished(place.runs) == before
    assert main(["climb", str(place.settings)]) == 0
    assert capsys.readouterr().err.count("finished before with these settings and rows: reused") == 2
    after = finished(place.runs)
    assert after.pop("lora-bert")
    assert after == before
    assert set(place.statuses().values()) == {"finished", "refused"}


def test_a_killed_seed_is_run_again_and_a_finished_one_is_not(fresh, capsys):
    bert = {"name": str(fresh.models["bert"]), "methods": ["head_only"]}
    settings = fresh.write(models=[bert], seeds=[7, 8])
    home = fresh.runs / "head_only-bert"
    with start("climb", settings) as running:
        child = until(lambda: child_of(running, "head_only-bert/seed-8"))
        running.kill()
        running.communicate(timeout=60)
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    before = finished(home)
    assert set(before) == {"seed-7"}
    assert main(["climb", str(settings)]) == 0
    assert capsys.readouterr().err.count("finished before with these settings and rows: reused") == 2
    after = finished(home)
    assert after.pop("seed-8")
    assert after == before
    assert fresh.statuses() == {"majority": "finished", "head_only-bert": "finished"}
