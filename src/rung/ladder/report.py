"""The report of a ladder: what each rung reached, what it cost, and which is enough. As JSON and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rung.engine.fsio import write_json, write_text
from rung.errors import ArtifactError
from rung.ladder import pooled
from rung.ladder.evidence import Rule, RungEvidence, total_cost
from rung.ladder.measure import task_type
from rung.ladder.page import render
from rung.ladder.recommend import Recommendation, recommend
from rung.ladder.records import MetricsFile
from rung.ladder.slices import by_slice
from rung.ladder.store import Ladder, Rung, RunRecord, read_ladder
from rung.ladder.verdicts import Verdict
from rung.metrics.metric import Metric

Rows = frozenset[tuple[str, str]]
"""The (id, right label) pairs of a test set: only runs scored on the same ones are compared."""


def build_report(folder: Path) -> dict[str, Any]:
    """The report of a ladder folder, as `report.json` holds it.

    Raises:
        ArtifactError: The ladder's own files are missing or damaged; a damaged run is a failed rung instead.
    """
    return report_on(read_ladder(folder))


def write_report(ladder: Ladder, folder: Path) -> dict[str, Any]:
    """Write `report.json` and `report.html` into a folder, each replaced whole, and return the report.

    Raises:
        StorageError: They can't be written; the old ones are as they were.
    """
    report = report_on(ladder)
    write_json(folder / "report.json", report)
    write_text(folder / "report.html", render(ladder, report))
    return report


def report_on(ladder: Ladder) -> dict[str, Any]:
    """The report of a ladder that was read.

    Returns:
        `rungs` in ladder order: `name`, `model`, `method`, `status`, `reason` (where it did not finish, or finished
        and can't be compared), `metrics` (`overfitting`: how much better it is on rows it was trained on than on
        validation rows), `cost` (with `total_seconds` at the expected requests), `forgetting`, `path`, and `difference`
        to the reference: `value`, `lower_bound`, `upper_bound`, `verdict`, `rows_needed`, `note`. With several seeds
        metrics and forgetting are means over them (an interval holds rows and seeds), costs are medians, and `seeds`
        tells what each reached and took. `recommended`: `name` (None when no rung finished), `reason`, `bound`,
        `margin`. `metric`: what rungs are compared by: its `name` among the metrics, its `title`, `lower_is_better`.
        Where less is better, a difference above 0 is still better than the reference. `slices`, where asked for: see
        `slices.by_slice`. `split`. `config`.
    """
    file, metric = ladder.file, ladder.metric
    evidence, left_out = _evidence(ladder, metric)
    answer = recommend(evidence, Rule(metric, file.margin))
    parts = by_slice(evidence, ladder.test, file.config.get("slices") or (), metric)
    totals = {rung.name: rung.total_cost for rung in evidence}
    return {
        "rungs": [_entry(rung, answer, left_out.get(rung.name, ""), totals, metric) for rung in ladder.rungs],
        "recommended": {
            "name": answer.name,
            "reason": answer.reason,
            "bound": answer.bound,
            "margin": answer.margin,
        },
        "metric": {"name": metric.name, "title": metric.title, "lower_is_better": metric.lower_is_better},
        **({"slices": parts} if parts else {}),
        "split": dict(file.split),
        "config": {**file.config, "expected_requests": file.expected_requests, "margin": file.margin},
    }


def _entry(
    rung: Rung, answer: Recommendation, left_out: str, totals: Mapping[str, float], metric: Metric
) -> dict[str, Any]:
    reason = rung.reason or (f"not compared: {left_out}" if left_out else "")
    entry: dict[str, Any] = {
        "name": rung.name,
        "model": rung.model,
        "method": rung.method,
        "status": rung.status,
        **({"reason": reason} if reason else {}),
        "metrics": None,
        "cost": None,
        "forgetting": None,
        "path": rung.path,
        "difference": _difference(answer.verdicts.get(rung.name)),
    }
    if rung.records:
        lost = pooled.forgetting(rung.records)
        entry["metrics"] = {
            **pooled.scores_on_test(rung.records),
            "overfitting": pooled.overfitting(rung.records, pooled.told_by(metric)),
        }
        entry["cost"] = {**pooled.cost(rung.records).model_dump(mode="json"), "total_seconds": totals.get(rung.name)}
        entry["forgetting"] = lost.model_dump(mode="json") if lost else None
    if rung.seeds:
        entry["seeds"] = _seeds(rung, metric)
    return entry


def _seeds(rung: Rung, metric: Metric) -> list[dict[str, Any]]:
    """What each seed's run reached and took."""
    records = iter(rung.records)
    entries = []
    for one in rung.seeds:
        entry = one.model_dump(mode="json", exclude={"folder"}) | {"path": one.folder, metric.name: None, "cost": None}
        if one.status == "finished" and rung.records:
            record = next(records)
            entry[metric.name] = pooled.on_test(record, metric)
            entry["cost"] = record.cost.model_dump(mode="json")
        entries.append(entry)
    return entries


def _difference(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {
        "value": verdict.difference,
        "lower_bound": verdict.lower_bound,
        "upper_bound": verdict.upper_bound,
        "verdict": verdict.status,
        "rows_needed": verdict.rows_needed,
        "note": verdict.note,
    }


def _evidence(ladder: Ladder, metric: Metric) -> tuple[list[RungEvidence], dict[str, str]]:
    """What can be compared, and why each other finished rung can't."""
    finished = [rung for rung in ladder.rungs if rung.records]
    shared = _shared_rows([rung.records[0] for rung in finished], ladder.test)
    evidence, left_out = [], {}
    for rung in finished:
        why = _other_rows(rung.records[0].rows, shared) or _without(rung, metric)
        score = pooled.validation_score(rung.records, metric)
        if why or score is None:
            left_out[rung.name] = why or f"its metrics.json has no validation {metric.name}"
            continue
        try:
            cost = total_cost(pooled.cost(rung.records).model_dump(), ladder.file.expected_requests)
        except ArtifactError as error:
            left_out[rung.name] = error.what
            continue
        evidence.append(_evidence_of(rung, cost, score, metric))
    return _same_tokens(evidence, left_out, metric), left_out


def _without(rung: Rung, metric: Metric) -> str:
    """Why a rung has nothing to be compared by; empty when it has."""
    record = rung.records[0]
    if isinstance(record.metrics, MetricsFile) != (metric.value is None):
        return f"it is a run of task={task_type(record.run.resolved.get('task'))}"
    if metric.value is not None and pooled.sums(rung.records, metric) is None:
        return f"its predictions.jsonl has no sums of {metric.rows}: its task computes other metrics"
    if pooled.on_test(record, metric) is None:
        return f"its metrics.json has no test {metric.name}"
    return ""


def _same_tokens(evidence: list[RungEvidence], left_out: dict[str, str], metric: Metric) -> list[RungEvidence]:
    """Rungs whose loss is a mean over the same tokens: another tokenizer, or a cut answer, makes it another metric."""
    if metric.rows != "loss":
        return evidence
    tokens = {one.name: tuple(sorted(zip(one.ids, (row[1] for row in one.sums[0]), strict=True))) for one in evidence}
    usual = [found for found, _ in Counter(tokens.values()).most_common(1)]
    same = [rung for rung in evidence if tokens[rung.name] in usual]
    for rung in evidence:
        if rung not in same:
            left_out[rung.name] = "its loss is over other tokens than that of the other rungs"
    return same


def _evidence_of(rung: Rung, cost: float, score: float, metric: Metric) -> RungEvidence:
    first = rung.records[0]
    return RungEvidence(
        name=rung.name,
        model=rung.model,
        method=rung.method,
        order=rung.order,
        total_cost=cost,
        validation_score=score,
        ids=[row.id for row in first.predictions],
        truth=[row.label for row in first.predictions],
        predictions=pooled.answers(rung.records) if metric.value is None else (),
        sums=() if metric.value is None else pooled.sums(rung.records, metric) or (),
    )


def _shared_rows(records: Sequence[RunRecord], test: Mapping[str, Any]) -> Rows:
    """The rows that runs are compared on: the ladder's own test rows, else those that most runs answered."""
    sets = [record.rows for record in records]
    own = [rows for rows in sets if {row for row, _ in rows} == set(test)]
    return Counter(own or sets).most_common(1)[0][0] if sets else frozenset()


def _other_rows(rows: Rows, shared: Rows) -> str:
    if rows == shared:
        return ""
    own, others = {row for row, _ in rows}, {row for row, _ in shared}
    if own == others:
        return f"{len(rows - shared):,} of its {len(rows):,} test rows carry another label than the other rungs saw"
    missing, foreign = len(others - own), len(own - others)
    return (
        f"it was not scored on this ladder's {len(others):,} test rows: {missing:,} are missing, {foreign:,} are others"
    )
