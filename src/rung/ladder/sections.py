"""What the page's sections hold: picked and put into words here, laid out by the template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from rung.data.ledger import BUCKETS
from rung.ladder import units
from rung.ladder.records import MetricsFile, TestMetrics
from rung.ladder.store import Ladder, Rung, RunRecord

MOST_CLASSES = 12
"""With more labels than this, a confusion matrix is unreadable: the most confused pairs are listed instead."""

MOST_PAIRS = 15
MOST_DISAGREEMENTS = 10


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A test message that rungs answer differently.

    Attributes:
        text: What was read; empty when the data was not kept.
        truth: The right label.
        answers: (answer, whether it is right, the rungs that gave it), the right one first.
        source: Where the row stood, or its id.
    """

    text: str
    truth: str
    answers: Sequence[tuple[str, bool, Sequence[str]]]
    source: str


def disagreements(ladder: Ladder, compared: Sequence[Rung]) -> list[Disagreement]:
    """The rows on which the compared rungs are most divided: by pairs of rungs that differ, then in row order."""
    records = [(rung, rung.record) for rung in compared if rung.record]
    if len(records) < 2:
        return []
    by_id = [{row.id: row for row in record.predictions} for _, record in records]
    divided = []
    for row in records[0][1].predictions:
        answers = [rows[row.id].prediction for rows in by_id]
        split = sum(first != second for first, second in combinations(answers, 2))
        if split:
            divided.append((split, row, answers))
    divided.sort(key=lambda found: -found[0])
    return [
        Disagreement(
            text=message(ladder, row.id),
            truth=row.label,
            answers=_grouped([rung.title for rung, _ in records], answers, row.label),
            source=str(ladder.test.get(row.id, {}).get("_source", row.id)),
        )
        for _, row, answers in divided[:MOST_DISAGREEMENTS]
    ]


def _grouped(names: Sequence[str], answers: Sequence[str | None], truth: str) -> list[tuple[str, bool, Sequence[str]]]:
    groups: dict[str | None, list[str]] = {}
    for name, said in zip(names, answers, strict=True):
        groups.setdefault(said, []).append(name)
    ordered = sorted(groups.items(), key=lambda group: (group[0] != truth, -len(group[1])))
    return [("no answer" if said is None else said, said == truth, gave) for said, gave in ordered]


def message(ladder: Ladder, row: str) -> str:
    """A test row's text: the task's own column(s), else every column but the label's."""
    record = ladder.test.get(row, {})
    task = ladder.file.config.get("task")
    task = task if isinstance(task, Mapping) else {}
    named = [task.get(key) for key in ("text", "text_pair", "pair", "prompt", "context")]
    columns = [name for name in named if isinstance(name, str) and name in record]
    if not columns:
        answers = (task.get("label"), task.get("completion"))
        columns = [name for name in record if not name.startswith("_") and name not in answers]
    return units.clipped(" ‖ ".join(str(record[name]) for name in columns), 400)


def confused_pairs(metrics: TestMetrics) -> list[tuple[str, str, int, float]]:
    """The pairs (truth, answer) that are mistaken most: rows, and their share of the truth's rows."""
    pairs = [
        (metrics.labels[truth], metrics.labels[said], rows, rows / max(sum(line), 1))
        for truth, line in enumerate(metrics.confusion)
        for said, rows in enumerate(line)
        if truth != said and rows
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:MOST_PAIRS]


def confusion_rows(metrics: TestMetrics) -> list[tuple[str, list[tuple[int, int, bool]]]]:
    """The confusion matrix by truth: (rows, shade 0 to 9 by share of the truth's rows, whether it is right)."""
    shaded = []
    for truth, line in enumerate(metrics.confusion):
        total = max(sum(line), 1)
        cells = [(rows, round(9 * rows / total), said == truth) for said, rows in enumerate(line)]
        shaded.append((metrics.labels[truth], cells))
    return shaded


def calibration(records: Iterable[tuple[str, RunRecord]]) -> list[dict[str, str]]:
    """Prompted rungs with and without calibration of their label scores."""
    return [
        {
            "name": name,
            "before": units.estimate(before.macro_f1.model_dump()),
            "after": units.estimate(after.macro_f1.model_dump()),
            "change": units.signed(after.macro_f1.value - before.macro_f1.value),
            "error_before": units.score(before.expected_calibration_error),
            "error_after": units.score(after.expected_calibration_error),
        }
        for name, record in records
        if isinstance(record.metrics, MetricsFile)
        and (before := record.metrics.uncalibrated)
        and (after := record.metrics.test)
    ]


_COSTS: Mapping[str, tuple[str, Callable[[float | None], str]]] = {
    "train": ("train_seconds", units.seconds),
    "search": ("search_seconds", units.seconds),
    "load": ("load_seconds", units.seconds),
    "tokenise": ("tokenize_seconds", units.seconds),
    "evaluate": ("eval_seconds", units.seconds),
    "peak memory": ("peak_memory_bytes", units.size),
    "FLOPs": ("flops", units.count),
    "tokens trained": ("tokens", units.count),
    "tokens / request": ("tokens_per_request", units.count),
    "time / request": ("seconds_per_request", units.milliseconds),
    "total": ("total_seconds", units.seconds),
}
_MONEY = {"money": "money", "money / request": "money_per_row"}


def costs(report: Mapping[str, Any]) -> tuple[tuple[str, ...], list[list[str]]]:
    """The cost ledger: its heads, and per finished rung its name and what each part took.

    What endpoints charged stands in it where there were prices.
    """
    spent = {rung["name"]: rung["cost"] for rung in report["rungs"] if rung["cost"]}
    money = {name: cost.get("endpoint") or {} for name, cost in spent.items()}
    heads = _MONEY if any(one.get("money") is not None for one in money.values()) else {}
    lines = [
        [
            name,
            *(shown(cost.get(key)) for key, shown in _COSTS.values()),
            *(units.money(money[name].get(key)) for key in heads.values()),
        ]
        for name, cost in spent.items()
    ]
    return ("rung", *_COSTS, *heads), lines


def ledger(split: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Where each input row went: the buckets that occur, and a line of counts per file."""
    files = {str(name): counts for name, counts in (split.get("ledger") or {}).items() if isinstance(counts, Mapping)}
    found = Counter(bucket for counts in files.values() for bucket in counts)
    buckets = [bucket for bucket in ("rows", *BUCKETS) if bucket in found]
    buckets += [bucket for bucket in found if bucket not in buckets]
    heads = [BUCKETS.get(bucket, bucket) for bucket in buckets]
    return heads, [[name, *(f"{counts.get(bucket, 0):,}" for bucket in buckets)] for name, counts in files.items()]


def settings(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A config as `key.inner = value` lines, the form the command line takes."""
    return list(_flat("", config))


def machines(records: Iterable[tuple[str, RunRecord]]) -> list[tuple[str, str, list[str]]]:
    """Which rungs ran where: hardware, versions, and the rungs that share them."""
    shared: dict[tuple[str, str], list[str]] = {}
    for name, record in records:
        hardware = ", ".join(f"{key} {value}" for key, value in _flat("", record.run.hardware))
        versions = ", ".join(f"{key} {value}" for key, value in _flat("", record.run.versions))
        shared.setdefault((hardware, versions), []).append(name)
    return [(hardware, versions, names) for (hardware, versions), names in shared.items()]


def _flat(prefix: str, value: Any) -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping | list | tuple) for inner in value):
        for index, inner in enumerate(value):
            yield from _flat(f"{prefix}[{index}]", inner)
    elif isinstance(value, list | tuple):
        yield prefix, ", ".join(str(inner) for inner in value)
    elif value is None or isinstance(value, bool):
        yield prefix, {None: "null", True: "true", False: "false"}[value]
    else:
        yield prefix, str(value)
