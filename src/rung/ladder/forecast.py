"""What each rung of a ladder will take, by the same function as a single run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rung.errors import RungError
from rung.ladder.climb import read_rows, write_split
from rung.ladder.plan import LadderConfig, plan
from rung.run.probe import plan_in_process
from rung.run.process import Nursery


def plan_ladder(
    config: LadderConfig, timed: bool, echo: Callable[[str], None], nursery: Nursery | None = None
) -> dict[str, Any]:
    """Plan every rung, cheapest first, each in a process of its own.

    The ladder's folder is left alone but for `plan.json` in the folders of runs, which take it up.

    Args:
        config: The settings.
        timed: Whether steps are made and timed.
        echo: Told in sentences what is going on.
        nursery: What the processes are forked from; None = each imports for itself.

    Returns:
        `rungs`: per rung what `plan_in_process` gave for its first seed and the number of `seeds`, or `name` and
        `refused`; `seconds` of all runs, None without a probe.
    """
    data, task, rows = read_rows(config, echo)
    with tempfile.TemporaryDirectory(prefix="rung-plan-") as folder:
        runs = plan(config, write_split(Path(folder), data), task, rows)
        planned: list[dict[str, Any]] = []
        for number, one in enumerate(runs, start=1):
            if not one.runs:
                planned.append({"name": one.name, "refused": one.reason})
                continue
            echo(f"[{number}/{len(runs)}] {one.name}")
            try:
                planned.append({**plan_in_process(one.runs[0], timed, nursery), "seeds": len(one.runs)})
            except RungError as error:
                planned.append({"name": one.name, "refused": str(error)})
    seconds = [one["seeds"] * one["seconds"]["total"] for one in planned if one.get("seconds")]
    return {"rungs": planned, "seconds": sum(seconds) if timed else None}
