from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rung.ladder.report import build_report, write_report
from rung.ladder.store import read_ladder


def by_name(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {rung["name"]: rung for rung in report["rungs"]}


@pytest.fixture(scope="module")
def report(finished: Path) -> dict[str, Any]:
    return build_report(finished)


def test_the_keys_are_those_of_the_design(report: dict[str, Any]) -> None:
    assert list(report) == ["rungs", "recommended", "metric", "split", "config"]
    assert report["metric"] == {"name": "macro_f1", "title": "macro-F1", "lower_is_better": False}
    assert list(report["recommended"]) == ["name", "reason", "bound", "margin"]
    keys = ["name", "model", "method", "status", "metrics", "cost", "forgetting", "path", "difference"]
    assert list(report["rungs"][0]) == keys
    assert report["config"]["expected_requests"] == 10_000
    assert report["split"]["rows"] == {"train": 2000, "validation": 400, "test": 600}


def test_the_cheapest_rung_within_the_margin_is_recommended(report: dict[str, Any]) -> None:
    rungs = by_name(report)
    assert report["recommended"]["name"] == "minilm-l6 full"
    assert rungs["smollm2-135m-instruct full"]["difference"]["verdict"] == "reference"
    difference = rungs["minilm-l6 full"]["difference"]
    assert difference["verdict"] == "sufficient"
    assert -0.02 < difference["lower_bound"] == report["recommended"]["bound"] < difference["value"] < 0
    assert rungs["minilm-l6 head_only"]["difference"]["verdict"] == "undecided"
    assert rungs["majority"]["difference"]["verdict"] == "insufficient"


def test_cost_counts_training_and_the_expected_requests(report: dict[str, Any]) -> None:
    cost = by_name(report)["minilm-l6 full"]["cost"]
    assert cost["total_seconds"] == pytest.approx(71.9 + 10_000 * 0.0042)


def test_rungs_that_did_not_finish_are_listed_with_their_reason(report: dict[str, Any]) -> None:
    failed, cut = report["rungs"][-2:]
    assert (failed["status"], failed["reason"]) == ("failed", "out of memory: the system ended the process at 3.9 GB")
    assert (cut["status"], cut["reason"]) == ("cut", "budget=15m was spent before its turn")
    assert (cut["metrics"], cut["cost"], cut["difference"]) == (None, None, None)


def test_it_is_written_whole_and_reads_back(made: ModuleType, tmp_path: Path) -> None:
    folder = made.LadderFolder(rungs=made.RUNGS[:2], rows=60).write(tmp_path)
    report = write_report(read_ladder(folder), folder)
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == report
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["data", "ladder.json", "report.html", "report.json", "runs"]


@pytest.mark.parametrize("status", ["failed", "cut", "refused", "running", "pending"])
def test_without_a_finished_rung_there_is_still_a_report(made: ModuleType, tmp_path: Path, status: str) -> None:
    rungs = (replace(made.RUNGS[1], status=status, reason="because"),)
    folder = made.LadderFolder(rungs=rungs, rows=6).write(tmp_path)
    report = write_report(read_ladder(folder), folder)
    assert report["recommended"]["name"] is None
    assert report["recommended"]["reason"] == "No rung finished, so there is none to recommend."
    assert [(rung["status"], rung["reason"]) for rung in report["rungs"]] == [(status, "because")]
    assert "No rung can be recommended." in (folder / "report.html").read_text(encoding="utf-8")


def test_one_finished_rung_is_recommended_without_a_bound(made: ModuleType, tmp_path: Path) -> None:
    report = build_report(made.LadderFolder(rungs=made.RUNGS[1:2], rows=60).write(tmp_path))
    assert (report["recommended"]["name"], report["recommended"]["bound"]) == ("tfidf", None)


def test_a_run_on_other_rows_is_listed_and_not_compared(made: ModuleType, tmp_path: Path) -> None:
    ladder = made.LadderFolder(rungs=made.RUNGS[:2], rows=60)
    folder = ladder.write(tmp_path)
    made.write_run(folder / "runs" / "other", made.RUNGS[7], made.LadderFolder(rows=72).test_rows()[12:])
    stranger = build_report(folder)["rungs"][-1]
    assert stranger["status"] == "finished"
    assert stranger["metrics"]["macro_f1"]["value"] > 0
    assert stranger["difference"] is None
    assert stranger["reason"] == (
        "not compared: it was not scored on this ladder's 60 test rows: 12 are missing, 12 are others"
    )


def test_a_run_that_saw_other_labels_is_not_compared(made: ModuleType, tmp_path: Path) -> None:
    ladder = made.LadderFolder(rungs=made.RUNGS[:2], rows=60)
    folder = ladder.write(tmp_path)
    rows = [*ladder.test_rows()[:57], *({**row, "kind": "billing"} for row in ladder.test_rows()[57:])]
    made.write_run(folder / "runs" / "relabelled", made.RUNGS[7], rows)
    stranger = build_report(folder)["rungs"][-1]
    assert stranger["reason"] == "not compared: 2 of its 60 test rows carry another label than the other rungs saw"


def test_rows_in_another_order_are_paired_by_id(made: ModuleType, tmp_path: Path) -> None:
    folder = made.LadderFolder(rungs=made.RUNGS[:3], rows=60).write(tmp_path)
    before = build_report(folder)
    path = folder / "runs" / "01-tfidf" / "predictions.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert build_report(folder) == before


def test_a_run_without_its_cost_is_not_compared(made: ModuleType, tmp_path: Path) -> None:
    folder = made.LadderFolder(rungs=made.RUNGS[:2], rows=60).write(tmp_path)
    path = folder / "runs" / "01-tfidf" / "cost.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds_per_request": None}))
    tfidf = build_report(folder)["rungs"][1]
    assert tfidf["reason"] == "not compared: cost.json: seconds_per_request=None"


def test_a_run_without_a_validation_score_is_not_compared(made: ModuleType, tmp_path: Path) -> None:
    folder = made.LadderFolder(rungs=made.RUNGS[:2], rows=60).write(tmp_path)
    path = folder / "runs" / "00-majority" / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"validation": {}}))
    report = build_report(folder)
    assert report["rungs"][0]["reason"] == "not compared: its metrics.json has no validation macro_f1"
    assert report["recommended"]["name"] == "tfidf"


def test_no_number_in_the_report_is_infinite(report: dict[str, Any]) -> None:
    def numbers(value: Any) -> list[float]:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            return [number for inner in value for number in numbers(inner)]
        return [value] if isinstance(value, float) else []

    assert all(math.isfinite(number) for number in numbers(report))
