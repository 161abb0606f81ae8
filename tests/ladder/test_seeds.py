from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from rung.evaluate.statistics import bootstrap_interval
from rung.ladder.page import render
from rung.ladder.records import PlannedSeed
from rung.ladder.report import build_report, report_on
from rung.ladder.seeds import together
from rung.ladder.store import read_ladder
from rung.ladder.table import markdown, terminal

SEEDS = ((7, 12), (8, 19), (9, 32))


@pytest.fixture(scope="module")
def rungs(made: ModuleType) -> tuple[Any, ...]:
    head = replace(made.RUNGS[4], step_seconds=0.0021, overfitting=0.01)
    lora = replace(made.RUNGS[5], step_seconds=0.98, overfitting=0.0425, seeds=SEEDS)
    return (*made.RUNGS[:2], head, lora)


@pytest.fixture(scope="module")
def folder(made: ModuleType, rungs: tuple[Any, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = {"task": {"type": "classification", "text": "text", "label": "kind"}, "seeds": [7, 8, 9]}
    return made.LadderFolder(rungs=rungs, config=config).write(tmp_path_factory.mktemp("seeds"))


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    return build_report(folder)


@pytest.fixture(scope="module")
def lora(report: dict[str, Any]) -> dict[str, Any]:
    return report["rungs"][-1]


def metrics_of(folder: Path, seed: int) -> dict[str, Any]:
    return json.loads((folder / "runs" / "03-lora" / f"seed-{seed}" / "metrics.json").read_text())


def test_quality_is_the_mean_and_its_interval_holds_rows_and_seeds(folder: Path, lora: dict[str, Any]) -> None:
    tests = [metrics_of(folder, seed)["test"] for seed, _ in SEEDS]
    found = lora["metrics"]["macro_f1"]
    assert found["value"] == pytest.approx(np.mean([test["macro_f1"]["value"] for test in tests]))
    ladder = read_ladder(folder)
    rows = [record.predictions for record in ladder.rungs[-1].records]
    labels = sorted({row.label for row in rows[0]})
    truth = np.array([labels.index(row.label) for row in rows[0]])
    given = np.array([[labels.index(str(row.prediction)) for row in seed] for seed in rows])
    assert (found["low"], found["high"]) == bootstrap_interval(truth, given, len(labels))
    middle = tests[1]["macro_f1"]
    assert found["high"] - found["low"] > 1.2 * (middle["high"] - middle["low"])


def test_costs_are_medians_and_each_seed_is_told(lora: dict[str, Any]) -> None:
    assert [(one["seed"], one["status"], one["path"]) for one in lora["seeds"]] == [
        (seed, "finished", f"runs/03-lora/seed-{seed}") for seed, _ in SEEDS
    ]
    seconds = [one["cost"]["train_seconds"] for one in lora["seeds"]]
    assert lora["cost"]["train_seconds"] == sorted(seconds)[1] == pytest.approx(219.4)
    assert lora["cost"]["total_seconds"] == pytest.approx(219.4 + 10_000 * 0.029)
    assert lora["cost"]["trainable_parameters"] == 4_884_480
    assert lora["metrics"]["overfitting"] == pytest.approx(0.0425)
    assert lora["forgetting"]["change"] == pytest.approx(0.04)


def test_a_rung_with_one_seed_is_told_as_ever(made: ModuleType, report: dict[str, Any]) -> None:
    assert "seeds" not in report["rungs"][1]
    assert report["rungs"][1]["metrics"]["overfitting"] is None


def test_the_spread_of_the_seeds_is_in_the_verdict(
    made: ModuleType, rungs: tuple[Any, ...], lora: dict[str, Any], report: dict[str, Any], tmp_path: Path
) -> None:
    alone = replace(rungs[-1], errors=21, seeds=())
    other = build_report(made.LadderFolder(rungs=(*rungs[:-1], alone)).write(tmp_path))
    assert report["recommended"]["name"] == other["recommended"]["name"] == alone.name
    width, single = (
        found["rungs"][2]["difference"]["upper_bound"] - found["rungs"][2]["difference"]["lower_bound"]
        for found in (report, other)
    )
    assert width > 1.2 * single


def test_one_seed_in_a_list_is_judged_as_the_run_alone(
    made: ModuleType, rungs: tuple[Any, ...], tmp_path: Path
) -> None:
    listed, bare = (
        build_report(made.LadderFolder(rungs=(*rungs[:-1], one)).write(tmp_path / name))["rungs"][-1]
        for name, one in (("listed", replace(rungs[-1], seeds=((7, 18),))), ("bare", replace(rungs[-1], seeds=())))
    )
    assert {**bare, "seeds": listed["seeds"]} == listed


def shown(report: dict[str, Any], width: int) -> str:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(terminal(report, width))
    return capture.get()


@pytest.mark.parametrize("width", [60, 80, 120, 240])
def test_the_second_table_fits_and_tells_what_training_took(report: dict[str, Any], width: int) -> None:
    printed = shown(report, width)
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= width
    second = printed[printed.index("What training took") :]
    assert "980 ms" in second
    assert "2.1 ms" in second
    assert "+0.043" in second or "+0.042" in second
    assert ("39.1 MB" in second) == (width >= 120)
    assert ("0.947–0.980, 3 seeds" in second) == (width >= 120)
    assert second.rindex("Lowest sufficient rung") > second.index("980 ms")
    if width == 240:
        assert "3 min 39 s (3 min 32 s–3 min 52 s)" in second


def test_markdown_has_both_tables_and_says_what_the_seeds_mean(report: dict[str, Any]) -> None:
    written = markdown(report)
    assert "\n| rung | trained params | optimizer state | step |" in written
    assert "were run with seeds 7, 8, 9: quality and forgetting are means" in written
    assert written.rstrip().splitlines()[-1].startswith("**Lowest sufficient rung")


def test_the_page_names_the_seed_of_what_one_run_alone_shows(folder: Path, report: dict[str, Any]) -> None:
    page = render(read_ladder(folder), report)
    assert '<h2 id="took">What training took</h2>' in page
    assert "<figcaption>smollm2-135m-instruct lora, seed 7</figcaption>" in page
    runs = page[page.index("Seeds, hashes and bases") :]
    assert [runs.count(f"<td>{seed}</td>") for seed in (8, 9)] == [1, 1]


def test_without_recorded_steps_there_is_no_second_table(finished: Path) -> None:
    report = build_report(finished)
    assert "What training took" not in shown(report, 200) + render(read_ladder(finished), report)


def test_a_damaged_seed_fails_its_rung_and_the_others_stand(
    made: ModuleType, rungs: tuple[Any, ...], tmp_path: Path
) -> None:
    folder = made.LadderFolder(rungs=rungs).write(tmp_path)
    (folder / "runs" / "03-lora" / "seed-8" / "metrics.json").write_text("{")
    found = report_on(read_ladder(folder))
    rung = found["rungs"][-1]
    assert (rung["status"], rung["metrics"], rung["difference"]) == ("failed", None, None)
    assert rung["reason"].startswith("2 of 3 seeds finished; seed 8: ")
    assert found["recommended"]["name"] == "minilm-l6 head_only"


def test_a_seed_scored_on_other_rows_fails_its_rung(made: ModuleType, rungs: tuple[Any, ...], tmp_path: Path) -> None:
    ladder = made.LadderFolder(rungs=rungs)
    folder = ladder.write(tmp_path)
    other = made.LadderFolder(rows=612).test_rows()[12:]
    made.write_run(folder / "runs" / "03-lora" / "seed-9", replace(rungs[-1], seeds=()), other, seed=9)
    rung = report_on(read_ladder(folder))["rungs"][-1]
    assert rung["status"] == "failed"
    assert "seed-9 was not scored on the test rows of" in rung["reason"]


def test_a_rung_with_missing_seeds_is_judged_by_the_others(
    made: ModuleType, rungs: tuple[Any, ...], tmp_path: Path
) -> None:
    folder = made.LadderFolder(rungs=rungs).write(tmp_path)
    file = json.loads((folder / "ladder.json").read_text())
    file["rungs"][-1]["seeds"][2] |= {"status": "cut", "reason": "not started: the budget of 1h was used up"}
    (folder / "ladder.json").write_text(json.dumps(file))
    rung = report_on(read_ladder(folder))["rungs"][-1]
    tests = [metrics_of(folder, seed)["test"]["macro_f1"]["value"] for seed in (7, 8)]
    assert rung["metrics"]["macro_f1"]["value"] == pytest.approx(np.mean(tests))
    assert rung["reason"] == "2 of 3 seeds finished; seed 9: not started: the budget of 1h was used up"
    assert rung["difference"] is not None
    assert [one["macro_f1"] is None for one in rung["seeds"]] == [False, False, True]


@pytest.mark.parametrize(
    ("statuses", "wanted"),
    [
        (("finished", "finished"), ("finished", "")),
        (("finished", "failed"), ("failed", "1 of 2 seeds finished; seed 1: why")),
        (("cut", "failed"), ("failed", "0 of 2 seeds finished; seed 1: why")),
        (("finished", "cut"), ("finished", "1 of 2 seeds finished; seed 1: why")),
        (("cut", "pending"), ("cut", "0 of 2 seeds finished; seed 0: why")),
        (("pending", "pending"), ("pending", "0 of 2 seeds finished; seed 0: why")),
    ],
)
def test_what_becomes_of_a_rung_by_its_seeds(statuses: tuple[str, ...], wanted: tuple[str, str]) -> None:
    seeds = [
        PlannedSeed.model_validate({"seed": seed, "folder": "f", "status": status, "reason": "why"})
        for seed, status in enumerate(statuses)
    ]
    assert together(seeds) == wanted
