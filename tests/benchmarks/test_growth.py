from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from benchmarks.growth_chart import Point, picture
from benchmarks.spec import SMOKE, Size

from benchmarks import growth


def result(length: int, seconds: float, taken: int) -> dict[str, object]:
    return {
        "status": "ok",
        "spec": {"name": f"growth_length.{length}", "args": {"length": length, "batch": 4, "steps": 3}},
        "median_seconds": seconds,
        "flops_step": 1e9 * length,
        "step_bytes": taken,
        "peak_bytes": taken + 10**9,
    }


def test_a_step_that_slows_down_is_said_to_outgrow_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    found = {str(n): result(n, s, 1000 * n) for n, s in ((64, 1.0), (128, 2.0), (256, 6.0))}
    lines = growth.by_length(found)
    assert lines[0] == "![Seconds and bytes a token by tokens of a row](growth_length.svg)"
    assert "| 256 | 6.00 | 5.86 | 43 | 0.00 | 0 | 1.00 |" in lines
    assert lines[-1] == (
        "From 64 to 256 tokens of a row the useful arithmetic of a token grows 1.00-fold. A unit of it is cheapest at "
        "64; at 256 it takes 1.50 times as long, and a token 1.00 times the least memory of all points. "
        "Faster than the work grows: time."
    )
    assert ElementTree.parse(tmp_path / "docs" / "growth_length.svg").getroot().tag.endswith("svg")


def test_two_points_are_no_curve_and_a_missing_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "ROOT", tmp_path)
    lost = {**result(256, 0.0, 0), "status": "timeout"}
    lines = growth.by_length({"64": result(64, 1.0, 64), "128": result(128, 2.0, 128), "256": lost})
    assert lines[0].startswith("| tokens of a row |")
    assert "Not measured: growth_length.256 (timeout)." in lines
    assert lines[-1].endswith("Nothing outgrows the work.")


def test_the_picture_tells_its_numbers_to_those_who_cannot_see_it() -> None:
    points = [Point(at, 4 * at, at / 100, 1e9 * at, 1000 * at, 10**9) for at in (64, 128, 256)]
    described = ElementTree.fromstring(picture("key", "rows <of> a step", points)).find(
        "{http://www.w3.org/2000/svg}desc"
    )
    assert described is not None
    assert described.text == "64: 2.50 ms and 0.00 MB a token; 128: 2.50 ms and 0.00 MB a token; " + (
        "256: 2.50 ms and 0.00 MB a token"
    )


def test_a_smoke_run_has_too_few_points_to_draw() -> None:
    assert [len(survey.specs) for survey in growth.benches(SMOKE)] == [2, 2, 1]
    assert [len(survey.specs) for survey in growth.benches(Size())] == [6, 6, 4]
