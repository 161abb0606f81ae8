"""Quality by parts of the test rows, against arithmetic done by hand on the same files."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import f1_score

from rung.errors import ConfigError
from rung.ladder.page import render
from rung.ladder.report import report_on
from rung.ladder.slices import MOST_VALUES, REST, check_slices
from rung.ladder.store import Ladder, read_ladder
from rung.ladder.table import markdown, terminal


def sliced(folder: Path, of: Any) -> Ladder:
    """A ladder whose test rows have a column `shop`, cut by it."""
    path = folder / "data" / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text(
        "".join(json.dumps({**row, "shop": of(at)}) + "\n" for at, row in enumerate(rows)), encoding="utf-8"
    )
    ladder = folder / "ladder.json"
    body = json.loads(ladder.read_text(encoding="utf-8"))
    body["config"]["slices"] = ["shop"]
    ladder.write_text(json.dumps(body), encoding="utf-8")
    return read_ladder(folder)


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "ladder")
    return tmp_path / "ladder"


def test_each_part_has_its_own_scores_and_differences(folder: Path) -> None:
    ladder = sliced(folder, lambda at: "north" if at % 3 else "south")
    report = report_on(ladder)
    parts = report["slices"]
    assert [(part["value"], part["rows"]) for part in parts] == [("north", 400), ("south", 200)]
    shops = {row: str(one["shop"]) for row, one in ladder.test.items()}
    for part in parts:
        assert part["against"] == "smollm2-135m-instruct zero_shot"
        scores = {}
        for rung in ladder.rungs:
            if rung.records:
                kept = [row for row in rung.records[0].predictions if shops[row.id] == part["value"]]
                answers = [str(row.prediction) for row in kept]
                scores[rung.name] = f1_score([row.label for row in kept], answers, average="macro", zero_division=0)
        assert [rung["name"] for rung in part["rungs"]] == list(scores)
        for rung in part["rungs"]:
            assert rung["value"] == pytest.approx(scores[rung["name"]])
            assert rung["low"] <= rung["value"] <= rung["high"]
            if rung["name"] == part["against"]:
                assert rung["difference"] is None
                continue
            gap = rung["difference"]
            assert gap["value"] == pytest.approx(scores[rung["name"]] - scores[part["against"]])
            assert gap["low"] <= gap["value"] <= gap["high"]


def test_rare_values_stand_together_and_no_row_is_lost(folder: Path) -> None:
    report = report_on(sliced(folder, lambda at: f"shop {at % 50:02}" if at < 500 else "shop 00"))
    parts = report["slices"]
    assert len(parts) == MOST_VALUES + 1 and parts[-1]["value"] == REST
    assert sum(part["rows"] for part in parts) == 600


def test_all_media_show_the_parts(folder: Path) -> None:
    ladder = sliced(folder, lambda at: "<b>x</b>" if at % 2 else "plain")
    report = report_on(ladder)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(terminal(report, 200))
    said = console.export_text()
    assert "By part of the test rows" in said and "shop = plain" in said
    assert "&lt;b&gt;x&lt;/b&gt;" in markdown(report)
    page = render(ladder, report)
    assert '<h2 id="slices">' in page and "<b>x</b>" not in page


def test_without_columns_nothing_is_cut(finished: Path) -> None:
    report = report_on(read_ladder(finished))
    assert "slices" not in report
    assert "By part" not in markdown(report)


def test_a_column_that_is_not_there_is_named() -> None:
    check_slices(["shop"], ["text", "shop"])
    with pytest.raises(ConfigError, match="Did you mean 'shop'"):
        check_slices(["shopp"], ["text", "shop"])


def test_sums_of_rows_are_cut_too() -> None:
    from rung.ladder.evidence import RungEvidence
    from rung.ladder.slices import by_slice
    from rung.metrics.written import WRITTEN

    chance = np.random.default_rng(0)
    ids = [f"row-{at}" for at in range(40)]
    test = {row: {"half": at // 20} for at, row in enumerate(ids)}

    def rung(name: str, method: str, shift: float) -> RungEvidence:
        sums = [[[float(score), 1.0] for score in chance.uniform(0, 0.5, 40) + shift] for _ in range(2)]
        return RungEvidence(name, "m", method, 0, 1.0, 0.5, ids, sums=sums)

    plain, tuned = rung("zero", "zero_shot", 0.0), rung("lora", "lora", 0.4)
    first, second = by_slice([tuned, plain], test, ["half"], WRITTEN["token_f1"])
    assert (first["rows"], second["rows"], first["against"]) == (20, 20, "zero")
    gap = first["rungs"][0]["difference"]
    by_hand = np.mean([np.asarray(run)[:20, 0] for run in tuned.sums]) - np.mean(
        [np.asarray(run)[:20, 0] for run in plain.sums]
    )
    assert gap["value"] == pytest.approx(by_hand) and 0 < gap["low"] < by_hand < gap["high"]
