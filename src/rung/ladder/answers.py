"""Whether the answers in `predictions.jsonl` go together with the run's other files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rung.errors import ArtifactError
from rung.ladder.records import MetricsFile, PredictionRow, TestMetrics, WrittenFile
from rung.metrics.written import WRITTEN

_RATIO = 2


def check_answers(
    path: Path, rows: Sequence[PredictionRow], metrics: MetricsFile | WrittenFile, stated: int | None
) -> None:
    """Refuse answers that contradict the other files.

    Args:
        path: The file, for errors.
        rows: Its lines.
        metrics: The run's metrics.
        stated: How many test rows `run.json` tells of; None = it does not.

    Raises:
        ArtifactError: An id appears twice, an answer is no label, a sum has other parts, or rows are missing.
    """
    seen: set[str] = set()
    for line, row in enumerate(rows, start=1):
        if row.id in seen:
            raise ArtifactError(f"{path}:{line}: id={row.id!r} appears twice", "Run the rung again.")
        seen.add(row.id)
        if isinstance(metrics, MetricsFile):
            _check_labels(f"{path}:{line}", row, metrics.test)
        else:
            _check_sums(f"{path}:{line}", row, rows[0])
    if stated is not None and stated != len(rows):
        raise ArtifactError(
            f"{path}: {len(rows)} rows, but run.json says {stated} test rows",
            "The run was cut off while it wrote its predictions; run the rung again.",
        )


def _check_labels(place: str, row: PredictionRow, metrics: TestMetrics) -> None:
    for key, value in (("label", row.label), ("prediction", row.prediction)):
        if value not in metrics.labels and not (key == "prediction" and value is None):
            raise ArtifactError(f"{place}: {key}={value!r} is not a label of metrics.json")
    if row.probabilities is not None and len(row.probabilities) != len(metrics.labels):
        raise ArtifactError(f"{place}: {len(row.probabilities)} probabilities for {len(metrics.labels)} labels")


def _check_sums(place: str, row: PredictionRow, first: PredictionRow) -> None:
    if set(row.sums) != set(first.sums):
        raise ArtifactError(f"{place}: its sums are not those of the first row", "Run the rung again.")
    for name, parts in row.sums.items():
        metric = WRITTEN.get(name)
        if metric is None:
            continue  # of a newer version
        if len(parts) != metric.parts or (metric.parts == _RATIO and parts[1] <= 0):
            raise ArtifactError(f"{place}: sums.{name}={list(parts)} can't be what a row adds", "Run the rung again.")
