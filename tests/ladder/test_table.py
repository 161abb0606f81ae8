from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from rung.ladder.report import build_report
from rung.ladder.table import columns, markdown, terminal


@pytest.fixture(scope="module")
def report(finished: Path) -> dict[str, Any]:
    return build_report(finished)


def printed(report: dict[str, Any], width: int) -> str:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(terminal(report, width))
    return capture.get()


def test_the_terminal_marks_the_recommended_rung_and_ends_with_the_answer(report: dict[str, Any]) -> None:
    shown = printed(report, 240)
    assert "➜ minilm-l6 full" in shown
    assert all(column.partition(" (")[0] in shown for column in columns(report))
    assert "3 min 32 s" in shown
    assert "134.5 M" in shown
    assert "−1.5 pt probe" in shown
    assert "minilm-l6 lora: cut: budget=15m was spent before its turn" in shown
    assert shown.rindex("Lowest sufficient rung: minilm-l6 full.") > shown.rindex("budget=15m")


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 240])
def test_no_line_is_wider_than_the_terminal(report: dict[str, Any], width: int) -> None:
    assert max(len(line.rstrip()) for line in printed(report, width).splitlines()) <= width


def test_what_does_not_fit_is_named(report: dict[str, Any]) -> None:
    shown = " ".join(printed(report, 120).split())
    assert "Left out at this width: model, trainable params, peak memory, artifact, forgetting. All of it" in shown
    assert "Left out at this width" not in printed(report, 240)


def test_markdown_has_a_row_per_rung_and_ends_with_the_answer(report: dict[str, Any]) -> None:
    written = markdown(report)
    rows = [line for line in written.splitlines() if line.startswith("|")]
    assert rows[0] == "| " + " | ".join(columns(report)) + " |"
    assert len(rows) == 2 + len(report["rungs"])
    assert {row.count("|") for row in rows} == {len(columns(report)) + 1}
    pick = next(row for row in rows if "**" in row)
    assert pick.startswith("| **minilm-l6 full** ← | minilm-l6 | 0.968 (")
    assert "| 22.7 M | 71.9 s | 1.9 GB | 90.9 MB | 4.2 | −1.5 pt probe |" in pick
    assert written.rstrip().splitlines()[-1].startswith("**Lowest sufficient rung: minilm-l6 full. `minilm-l6 full` ")


@pytest.mark.hostile
def test_hostile_names_are_shown_and_not_obeyed(made: ModuleType, tmp_path: Path) -> None:
    rungs = (
        replace(made.RUNGS[1], name="\x1b[31m[red]tfidf[/red]\x1b]0;owned\x07"),
        replace(made.RUNGS[8], name="a|b <script>alert(1)</script>", reason="\x1b[2Jline\nbreak"),
    )
    report = build_report(made.LadderFolder(rungs=rungs, rows=60).write(tmp_path))
    shown, written = printed(report, 200), markdown(report)
    assert "\x1b" not in shown + written
    assert "\x07" not in shown + written
    assert "[red]tfidf[/red]" in shown
    assert "a|b <script>alert(1)</script>: failed: line break" in shown
    assert "<script" not in written
    assert "a\\|b &lt;script&gt;alert(1)&lt;/script&gt;" in written
    assert "\\[red\\]tfidf\\[/red\\]" in written
