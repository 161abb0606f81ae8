"""A ladder of rungs that write: climbed with tiny models, judged by the metric its task names."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from rung.cli.app import main
from rung.config.validation import build
from rung.errors import ArtifactError
from rung.ladder.climb import climb
from rung.ladder.page import render
from rung.ladder.plan import LadderConfig
from rung.ladder.report import build_report, report_on
from rung.ladder.store import read_ladder, read_run
from rung.ladder.table import markdown, terminal
from rung.metrics.written import WRITTEN

WORDS = ["joy", "warm", "plot", "prize", "dinner", "dull", "film", "years", "jokes", "call"]
NAMES = ["zero_shot-llama", "few_shot-llama", "soft_prompt-llama", "lora-llama"]
HOSTILE = "<script>alert(1)</script> \x1b[31m{{ 7 * 7 }}"


def settings(folder: Path, model: Path, **changed: Any) -> dict[str, Any]:
    return {
        "data": {"train": str(folder / "sums.jsonl"), "near_duplicates": False},
        "task": {"type": "generation", "max_new_tokens": 6, "metrics": ["token_f1", "chrf", "bleu", "loss"]},
        "models": [str(model)],
        "methods": [
            "zero_shot",
            {"type": "few_shot", "num_shots": 1},
            {"type": "soft_prompt", "num_virtual_tokens": 2},
            {"type": "lora", "r": 2},
        ],
        "training": {"num_train_epochs": 1, "per_device_train_batch_size": 16},
        "seeds": [1, 2],
        "num_threads": 1,
        "max_length": 120,
        "learning_curve": False,
        "output_dir": str(folder / "out"),
        **changed,
    }


def write_rows(path: Path) -> None:
    chance = random.Random(0)
    rows = []
    for _ in range(60):
        count, words = chance.randint(1, 9), chance.sample(WORDS, chance.randint(2, 5))
        rows.append({"question": f"{' '.join(words)} {count} times?", "answer": f"it is {words[0]} {count}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> tuple[Path, list[str]]:
    """A finished ladder, and what it said."""
    folder, said = tmp_path_factory.mktemp("written"), []
    write_rows(folder / "sums.jsonl")
    given = settings(folder, tiny_models["llama"])
    climb(build(LadderConfig, given), given, echo=said.append)
    return folder / "out", said


@pytest.fixture
def copied(climbed: tuple[Path, list[str]], tmp_path: Path) -> Path:
    shutil.copytree(climbed[0], tmp_path / "out")
    return tmp_path / "out"


def told(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {rung["name"]: rung for rung in report["rungs"]}


def edit(path: Path, change: Any) -> None:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(change(line)) + "\n" for line in lines), encoding="utf-8")


def of_task(folder: Path, **task: Any) -> None:
    """Give the ladder another task."""
    path = folder / "ladder.json"
    body = json.loads(path.read_text(encoding="utf-8"))
    body["config"]["task"] |= task
    path.write_text(json.dumps(body), encoding="utf-8")


def test_every_rung_writes_and_one_is_recommended(climbed: tuple[Path, list[str]]) -> None:
    folder, said = climbed
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    rungs = told(report)
    assert set(rungs) == set(NAMES)
    assert {rung["status"] for rung in rungs.values()} == {"finished"}
    assert report["recommended"]["name"] in rungs
    assert report["metric"] == {"name": "token_f1", "title": "token F1", "lower_is_better": False}
    scores = rungs["lora-llama"]["metrics"]
    assert {"token_f1", "chrf", "bleu", "loss", "mean_tokens", "overfitting"} <= set(scores)
    assert "macro_f1" not in json.dumps(report)
    assert [one["seed"] for one in rungs["lora-llama"]["seeds"]] == [1, 2]
    assert scores["token_f1"]["value"] == pytest.approx(
        np.mean([one["token_f1"] for one in rungs["lora-llama"]["seeds"]])
    )
    assert scores["token_f1"]["low"] <= scores["token_f1"]["value"] <= scores["token_f1"]["high"]
    assert "No controls: majority and tfidf name labels, and task=generation asks for a text." in said
    assert any("token F1 0." in sentence and "on validation" in sentence for sentence in said)


def test_differences_are_those_of_what_stands_in_the_files(climbed: tuple[Path, list[str]]) -> None:
    report = build_report(climbed[0])
    means = {}
    for rung in read_ladder(climbed[0]).rungs:
        runs = [np.asarray([row.sums["token_f1"] for row in record.predictions]) for record in rung.records]
        means[rung.name] = np.mean([WRITTEN["token_f1"].of(rows) for rows in runs])
    reference = next(name for name, rung in told(report).items() if rung["difference"]["verdict"] == "reference")
    for name, rung in told(report).items():
        assert rung["difference"]["value"] == pytest.approx(means[name] - means[reference])


def test_by_the_loss_less_is_better_everywhere(copied: Path) -> None:
    of_task(copied, main_metric="loss")
    report = build_report(copied)
    rungs = told(report)
    assert report["metric"] == {"name": "loss", "title": "loss", "lower_is_better": True}
    reference = next(name for name, rung in rungs.items() if (rung["difference"] or {}).get("verdict") == "reference")
    for rung in rungs.values():
        if rung["difference"] is not None:
            gain = rungs[reference]["metrics"]["loss"]["value"] - rung["metrics"]["loss"]["value"]
            assert rung["difference"]["value"] == pytest.approx(gain)
    page = render(read_ladder(copied), report)
    assert "loss, test; up is less, and better" in page
    assert "gain over the reference, nats of loss" in page
    assert "points of" not in page
    assert "gain over reference (lower bound)" in markdown(report)


def test_a_loss_over_other_tokens_is_not_compared(copied: Path) -> None:
    of_task(copied, main_metric="loss")
    for seed in (1, 2):
        path = copied / "runs" / "lora-llama" / f"seed-{seed}" / "predictions.jsonl"
        edit(path, lambda row: {**row, "sums": {**row["sums"], "loss": [row["sums"]["loss"][0], 99.0]}})
    lora = told(build_report(copied))["lora-llama"]
    assert lora["difference"] is None
    assert lora["reason"] == "not compared: its loss is over other tokens than that of the other rungs"


def test_a_metric_that_runs_have_not_computed_is_said(copied: Path) -> None:
    of_task(copied, main_metric="rouge_l")
    report = build_report(copied)
    assert report["recommended"]["name"] is None
    assert {rung["reason"] for rung in report["rungs"]} == {
        "not compared: its predictions.jsonl has no sums of rouge_l: its task computes other metrics"
    }
    assert "token F1" not in markdown(report)
    of_task(copied, main_metric="beauty")
    with pytest.raises(ArtifactError, match="main_metric='beauty' is no metric"):
        build_report(copied)


def test_the_page_shows_what_rungs_wrote_and_no_matrix(copied: Path) -> None:
    path = copied / "runs" / "zero_shot-llama" / "predictions.jsonl"
    edit(path, lambda row: {**row, "prediction": HOSTILE, "sums": {**row["sums"], "token_f1": [1.0, 1.0]}})
    ladder = read_ladder(copied)
    page = render(ladder, report_on(ladder))
    assert "What the rungs wrote" in page
    assert "What is mistaken for what" not in page
    assert "Where rungs disagree most" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {{ 7 * 7 }}" in page
    assert "<script" not in page
    assert "\x1b" not in page
    assert "times?" in page
    assert "macro" not in page


def test_terminal_and_markdown_name_the_metric(climbed: tuple[Path, list[str]]) -> None:
    report = build_report(climbed[0])
    assert "| token F1 (95 % interval) |" in markdown(report)
    assert "token F1 by seed" in markdown(report)
    assert "overfitting (loss)" in markdown(report)
    console = Console(width=240, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(terminal(report, 240))
    assert "token F1" in capture.get()
    assert "macro" not in capture.get()


@pytest.mark.parametrize(
    ("sums", "what"),
    [
        ({"token_f1": [1.0]}, "sums.token_f1=[1.0] can't be what a row adds"),
        ({"token_f1": [1.0, 0.0]}, "sums.token_f1=[1.0, 0.0] can't be what a row adds"),
        ({"bleu": [1.0, 1.0]}, "sums.bleu=[1.0, 1.0] can't be what a row adds"),
    ],
)
def test_damaged_sums_are_refused(sums: dict[str, Any], what: str, copied: Path) -> None:
    run = copied / "runs" / "zero_shot-llama"
    edit(run / "predictions.jsonl", lambda row: {**row, "sums": sums})
    with pytest.raises(ArtifactError) as caught:
        read_run(run)
    assert caught.value.what == f"{run / 'predictions.jsonl'}:1: {what}"


def test_a_learning_curve_is_of_the_main_metric(copied: Path) -> None:
    estimate = {"value": 0.2, "low": 0.1, "high": 0.3}
    points = [{"rows": rows, "token_f1": estimate} for rows in (10, 20)]
    (copied / "learning_curve.json").write_text(json.dumps({"lora-llama": points}), encoding="utf-8")
    ladder = read_ladder(copied)
    page = render(ladder, report_on(ladder))
    assert "More labels, or a higher rung?" in page
    assert page.count("token F1, test") >= 4


def test_defaults_of_a_ladder_that_writes_are_what_can_write() -> None:
    config = LadderConfig.model_validate({"data": {"train": "a.jsonl"}, "task": {"type": "generation"}})
    assert config.controls == ()
    assert config.models == ("smollm2-135m-instruct",)
    assert [method.name for method in config.methods] == ["zero_shot", "few_shot", "lora", "full"]
    classify = LadderConfig.model_validate({"data": {"train": "a.jsonl"}})
    assert [control.name for control in classify.controls] == ["majority", "tfidf"]


def test_controls_that_are_asked_for_are_refused_with_their_reason(
    climbed: tuple[Path, list[str]], tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    given = settings(
        climbed[0].parent, tiny_models["llama"], controls=["majority"], methods=["zero_shot"], seeds=None,
        output_dir=str(tmp_path / "out"), learning_curve=True,
    )  # fmt: skip
    rungs = told(climb(build(LadderConfig, given), given))
    assert rungs["majority"]["status"] == "refused"
    assert "names one of a few labels, and task=generation asks for a text" in rungs["majority"]["reason"]
    assert rungs["zero_shot-llama"]["status"] == "finished"


def test_runs_alone_are_compared_by_the_command_line(
    climbed: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = climbed[0] / "runs"
    folders = [runs / "zero_shot-llama", runs / "lora-llama" / "seed-1"]
    assert main(["report", *map(str, folders), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["metric"]["name"] == "token_f1"
    assert all(rung["difference"] for rung in report["rungs"])
    assert main(["report", *map(str, folders), "--markdown"]) == 0
    assert "| token F1 (95 % interval) |" in capsys.readouterr().out


def test_a_classifier_among_runs_that_write_is_not_compared(made: ModuleType, copied: Path) -> None:
    made.write_run(copied / "runs" / "other", made.RUNGS[5], made.LadderFolder(rows=60).test_rows())
    report = build_report(copied)
    other = report["rungs"][-1]
    assert other["difference"] is None
    assert other["reason"].startswith("not compared: it was not scored on this ladder's")
    assert other["metrics"]["macro_f1"]["value"] > 0
    assert "smollm2-135m-instruct lora" in render(read_ladder(copied), report)
    assert "| – |" in markdown(report)
