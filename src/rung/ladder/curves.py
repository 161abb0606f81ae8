"""More labels or a higher rung? The cheapest sufficient rungs on 1/8, 1/4 and 1/2 of their rows."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from rung.engine import fsio
from rung.engine.callbacks.quiet import quiet
from rung.errors import ArtifactError
from rung.ladder.plan import Planned
from rung.ladder.process import Echo, Processes
from rung.ladder.report import build_report
from rung.run.config import RunConfig
from rung.run.identity import is_finished, replace_folder

_PARTS = (8, 4, 2)
_RUNGS = 2
_FLAT = frozenset({"majority", "zero_shot", "few_shot", "prompt_search"})
"""Methods whose quality does not grow with the rows."""


def measure_curves(folder: Path, runs: Sequence[Planned], deadline: float | None, how: tuple[Processes, Echo]) -> None:
    """Run the smaller shares and write `learning_curve.json`; stops where the budget does.

    With several seeds a curve is that of the first, at all of its points.

    Args:
        folder: The ladder's folder.
        runs: Its runs.
        deadline: `time.monotonic()` at which to stop; None = never.
        how: Starts a run's process; is told what is going on.
    """
    by_name = {one.name: one for one in runs}
    curves: dict[str, list[dict[str, Any]]] = {}
    for name in _cheapest(build_report(folder), by_name):
        config = next(run for run in by_name[name].runs if (Path(run.output_dir) / "run.json").exists())
        whole = _rows(Path(config.output_dir))
        points = [_point(Path(config.output_dir), config.task.main.name)]
        for part in _PARTS:
            if deadline is not None and time.monotonic() >= deadline:
                break
            share = _share(folder, config, whole // part)
            if _finish(share, deadline, how):
                points.append(_point(Path(share.output_dir), config.task.main.name))
        curves[name] = sorted(points, key=lambda point: point["rows"])
        fsio.write_json(folder / "learning_curve.json", curves)


def _cheapest(report: dict[str, Any], planned: Collection[str]) -> list[str]:
    """The two cheapest sufficient rungs that learn from rows; runs that joined from elsewhere can't be run on fewer."""
    able = [
        rung
        for rung in report["rungs"]
        if rung["name"] in planned
        and rung["method"] not in _FLAT
        and rung.get("difference")
        and rung["difference"]["verdict"] in {"reference", "sufficient"}
    ]
    return [rung["name"] for rung in sorted(able, key=lambda rung: rung["cost"]["total_seconds"])[:_RUNGS]]


def _share(folder: Path, config: RunConfig, rows: int) -> RunConfig:
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"max_train_rows": rows}),
            "output_dir": str(folder / "curves" / f"{config.title}-{rows}"),
        }
    )


def _finish(share: RunConfig, deadline: float | None, how: tuple[Processes, Echo]) -> bool:
    """Whether the run is there, running it if it is not."""
    processes, echo = how
    try:
        if is_finished(share):
            return True
    except ArtifactError:
        replace_folder(Path(share.output_dir))
    echo(f"learning curve: {share.title} on {share.data.max_train_rows} rows")
    outcome = processes.run(share, deadline, quiet, echo)
    if outcome.status != "finished":
        echo(f"  {outcome.status}: {outcome.reason}")
    return outcome.status == "finished"


def _rows(run: Path) -> int:
    return int(json.loads((run / "run.json").read_text(encoding="utf-8"))["data"]["rows"]["train"])


def _point(run: Path, metric: str) -> dict[str, Any]:
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return {"rows": _rows(run), metric: metrics["test"][metric]}
