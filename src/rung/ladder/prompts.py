"""What prompt methods tried, as the page shows it: read from each run's `search.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from rung.errors import ArtifactError
from rung.ladder import units
from rung.ladder.store import RunRecord

_MOST_TRIED = 12


def searches(records: Iterable[tuple[str, RunRecord]]) -> list[dict[str, Any]]:
    """Rungs that searched for a prompt: what was tried, what won, and what the test rows say of it.

    Raises:
        ArtifactError: A `search.json` is damaged.
    """
    return [_search(name, found) for name, record in records if (found := _read(record)) and "tried" in found]


def curves(records: Iterable[tuple[str, RunRecord]]) -> list[dict[str, Any]]:
    """Rungs that chose among numbers of shots: validation quality against tokens of a prompt."""
    return [
        {
            "name": name,
            "chosen": found["shots"],
            "points": [
                (point["num_shots"], units.estimate({**point, "value": point["score"]}), f"{point['tokens']:,.0f}")
                for point in found["curve"]
            ],
        }
        for name, record in records
        if (found := _read(record)) and found.get("curve")
    ]


def _search(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    tried = sorted(found["tried"], key=lambda one: (-one["rows"], -(one["score"] or 0.0)))
    spent = found["spent"]
    return {
        "name": name,
        "sentences": found.get("sentences", []),
        "candidates": f"{len(tried):,}",
        "evaluations": f"{spent['evaluations']:,}",
        "tokens": f"{spent['tokens']:,}",
        "stopped": found["stopped"],
        "instruction": found["prompt"]["instruction"],
        "shots": len(found["prompt"]["shots"]),
        "own": [_line(one) for one in found["prompts"]],
        "tried": [_line(one) for one in tried[:_MOST_TRIED]],
    }


def _line(one: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    """Where a candidate came from, its instruction, its shots, its score and the rows it is of."""
    score = one["score"]
    shown = "–" if score is None else units.score(score)
    if score is not None and "low" in one:
        shown = units.estimate({"value": score, "low": one["low"], "high": one["high"]})
    left = "" if one["dropped"] is None else ", left"
    return (one["origin"], units.clipped(one["instruction"], 200), str(one["shots"]), shown, f"{one['rows']}{left}")


def _read(record: RunRecord) -> dict[str, Any] | None:
    path = record.folder / "search.json"
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path}: not JSON: {error}", "The file is damaged or cut off.") from None
