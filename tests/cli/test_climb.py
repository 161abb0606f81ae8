from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import psutil
import pytest

import rung
from rung.cli.app import main
from rung.engine.callbacks.quiet import quiet
from rung.ladder.process import Outcome, Processes
from rung.run import RunConfig
from rung.run.process import FORKS

RUNGS = {
    "majority": "finished",
    "zero_shot-bert": "refused",
    "few_shot-llama": "finished",
    "lora-bert": "finished",
}


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Each file below a folder: when it was written, and its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_a_ladder_from_end_to_end(climbed):
    assert climbed.statuses() == RUNGS
    report = climbed.report()
    assert report["recommended"]["name"] in RUNGS
    assert (climbed.out / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    shown = (climbed.folder / "stdout").read_text(encoding="utf-8")
    assert f"Lowest sufficient rung: {report['recommended']['name']}." in shown.replace("\n", " ")
    assert shown.endswith(f"Report: {climbed.out / 'report.html'}\n")


def test_what_a_climb_says_on_its_way(climbed):
    said = (climbed.folder / "stderr").read_text(encoding="utf-8").splitlines()
    assert said[:2] == ["Label column: label (by its name; 2 different values).", "Text column: text (by its name)."]
    assert "4 rungs, cheapest first: majority, zero_shot-bert, few_shot-llama, lora-bert." in said
    at = said.index("[2/4] zero_shot-bert")
    assert said[at + 1] == "  refused: method=zero_shot prompts the model, and an encoder can't be prompted"
    at = said.index("[4/4] lora-bert")
    assert said[at + 1].startswith("  step 2 of 12, loss ")
    assert said[-1].startswith("  finished in ")
    assert said[-1].endswith(" on validation")


def test_the_same_command_again_runs_nothing(place, capsys):
    before = contents(place.runs)
    assert main(["climb", str(place.settings)]) == 0
    assert capsys.readouterr().err.count("  finished before with these settings and rows: reused\n") == 3
    assert contents(place.runs) == before
    assert place.statuses() == RUNGS


def test_a_changed_setting_runs_its_rung_alone_and_keeps_the_old(place, capsys):
    before = contents(place.runs)
    models = place.ladder()["models"]
    models[0]["methods"] = ["zero_shot", {"type": "lora", "r": 2}]
    assert main(["climb", str(place.write(models=models))]) == 0
    aside = place.runs / ".replaced" / "lora-bert-1"
    assert (
        f"its settings or rows changed since: run anew; the earlier run is kept in {aside}" in capsys.readouterr().err
    )
    after = contents(place.runs)
    kept = {name: found for name, found in before.items() if not name.startswith("lora-bert/")}
    assert {name: after[name] for name in kept} == kept
    assert contents(aside) == {
        name.removeprefix("lora-bert/"): found for name, found in before.items() if name.startswith("lora-bert/")
    }
    assert json.loads((place.runs / "lora-bert" / "run.json").read_text())["resolved"]["method"]["r"] == 2


def test_a_budget_gives_an_answer_from_what_is_finished(place, capsys):
    shutil.rmtree(place.runs / "lora-bert")
    assert main(["climb", str(place.settings), "--budget", "0.001s"]) == 0
    shown = capsys.readouterr()
    assert "  cut: not started: the budget of 0.001s was used up\n" in shown.err
    assert place.statuses() == {**RUNGS, "lora-bert": "cut"}
    assert place.report()["recommended"]["name"] is not None
    assert "lora-bert: cut: not started: the budget of 0.001s was used up" in shown.out.replace("\n", " ")


@pytest.mark.parametrize("forks", [False, pytest.param(True, marks=pytest.mark.skipif(not FORKS, reason="no forks"))])
def test_a_budget_ends_a_rung_that_runs(forks, climbed, tmp_path: Path):
    settings = json.loads((climbed.runs / "lora-bert" / "given.json").read_text())
    config = RunConfig.model_validate({**settings, "output_dir": str(tmp_path / "run")})
    with Processes(forks) as processes:
        outcome = processes.run(config, time.monotonic(), quiet)
    assert outcome == Outcome("cut", "the budget was used up while it ran; the same command with more budget goes on")
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.skipif(not FORKS, reason="this system starts a process anew for each run")
def test_a_fork_and_a_process_of_its_own_give_the_same_run(climbed, tmp_path: Path):
    settings = json.loads((climbed.runs / "lora-bert" / "given.json").read_text())
    found = {}
    names = ("adapter_model.safetensors", "head.safetensors", "predictions.jsonl", "golden.jsonl")
    for forks in (False, True):
        # The second fork of one process must be like its first.
        with Processes(forks) as processes:
            for number in range(1 + forks):
                place = tmp_path / f"run-{forks}-{number}"
                place.mkdir()
                config = RunConfig.model_validate({**settings, "output_dir": str(place)})
                assert processes.run(config, None, quiet) == Outcome("finished")
                found[place.name] = [(place / name).read_bytes() for name in (*names, "metrics.json")]
    assert len(found) == 3
    # The ladder itself was climbed by a command, of which its runs' nursery was a fork.
    by_command = [(climbed.runs / "lora-bert" / name).read_bytes() for name in (*names, "metrics.json")]
    assert by_command == found["run-False-0"] == found["run-True-0"] == found["run-True-1"]


@pytest.mark.skipif(not FORKS, reason="this system starts a process anew for each run")
def test_a_run_that_is_killed_is_told_and_the_next_one_runs(climbed, tmp_path: Path):
    settings = json.loads((climbed.runs / "lora-bert" / "given.json").read_text())

    def kill_after_first_step(total: int):
        class Killing:
            def after_step(self, progress):
                parent = psutil.Process(os.getpid())
                (nursery,) = [one for one in parent.children() if "rung.run.nursery" in one.cmdline()]
                for run in nursery.children():
                    run.kill()

        return Killing()

    with Processes(True) as processes:
        for name, watch, status in (("killed", kill_after_first_step, "failed"), ("next", quiet, "finished")):
            (tmp_path / name).mkdir()
            config = RunConfig.model_validate({**settings, "output_dir": str(tmp_path / name)})
            outcome = processes.run(config, None, watch)
            assert outcome.status == status
            assert ("was killed (signal 9)" in outcome.reason) == (status == "failed")
    assert not [one for one in psutil.Process(os.getpid()).children() if "rung.run.nursery" in one.cmdline()]


def test_python_mirrors_the_command_line(place, capsys):
    said: list[str] = []
    report = rung.climb(str(place.settings), echo=said.append)
    assert report == place.report()
    assert said.count("  finished before with these settings and rows: reused") == 3
    run = rung.train(str(place.data), "method=majority", f"output_dir={place.folder / 'one'}")
    assert run.labels == ("bad", "good")
    again = rung.load(place.folder / "one")
    assert again.predict([{"text": "a joy"}]) == run.predict([{"text": "a joy"}])
    assert capsys.readouterr() == ("", "")


@pytest.mark.models
def test_real_models_on_real_messages(minilm_path: Path, smollm2_path: Path, tmp_path: Path, cli):
    messages = Path(__file__).parents[2] / "examples" / "data" / "sms_spam.tsv"
    rows = messages.read_text(encoding="utf-8").splitlines(keepends=True)
    data = tmp_path / "sms.tsv"
    data.write_text("".join(rows[:400]), encoding="utf-8")
    limits = ["data.max_train_rows=80", "data.max_test_rows=24", "data.max_validation_rows=16"]
    models = (
        '[{"name": "smollm2-135m-instruct", "methods": ["zero_shot"]}, {"name": "minilm-l6", "methods": ["head_only"]}]'
    )
    words = ["climb", data, f"models={models}", *limits, f"output_dir={tmp_path / 'out'}", "learning_curve=false"]
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    rungs = {one["name"]: one for one in json.loads((tmp_path / "out" / "report.json").read_text())["rungs"]}
    assert {one["status"] for one in rungs.values()} == {"finished"}
    assert set(rungs) == {"majority", "tfidf", "zero_shot-smollm2", "head_only-minilm"}
    assert rungs["head_only-minilm"]["cost"]["trainable_parameters"] == 2 * 384 + 2
    assert rungs["zero_shot-smollm2"]["cost"]["trainable_parameters"] == 0
    assert cli("doctor", tmp_path / "out" / "runs" / "zero_shot-smollm2").returncode == 0
