"""What the rungs wrote, side by side: the test rows on which their answers differ most in worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rung.ladder import units
from rung.ladder.records import PredictionRow
from rung.ladder.sections import message
from rung.ladder.store import Ladder, Rung
from rung.metrics.metric import Metric

MOST_EXAMPLES = 6
_MOST_SIGNS = 600


@dataclass(frozen=True, slots=True)
class Example:
    """A test row and what each rung wrote.

    Attributes:
        text: What was read; empty when the data was not kept.
        right: The right text.
        answers: (rung, what it wrote, its score on this row), in ladder order.
        source: Where the row stood, or its id.
    """

    text: str
    right: str
    answers: Sequence[tuple[str, str, str]]
    source: str


def examples(ladder: Ladder, compared: Sequence[Rung], metric: Metric) -> list[Example]:
    """The rows whose scores are farthest apart among the compared rungs, then in row order."""
    records = [(rung.title, rung.record) for rung in compared if rung.record]
    if not records:
        return []
    by_id = [(name, {row.id: row for row in record.predictions}) for name, record in records]
    apart: list[tuple[float, PredictionRow, list[float]]] = []
    for row in records[0][1].predictions:
        scores = [_score(rows[row.id], metric) for _, rows in by_id]
        apart.append((max(scores) - min(scores), row, scores))
    apart.sort(key=lambda found: -found[0])
    return [
        Example(
            text=message(ladder, row.id),
            right=units.clipped(row.label, _MOST_SIGNS),
            answers=[
                (name, units.clipped(_written(rows[row.id]), _MOST_SIGNS), units.score(score))
                for (name, rows), score in zip(by_id, scores, strict=True)
            ],
            source=str(ladder.test.get(row.id, {}).get("_source", row.id)),
        )
        for _, row, scores in apart[:MOST_EXAMPLES]
    ]


def _score(row: PredictionRow, metric: Metric) -> float:
    """The metric of one row alone."""
    return metric.of(np.asarray([row.sums[metric.rows]], dtype=np.float64))


def _written(row: PredictionRow) -> str:
    return row.prediction if row.prediction and row.prediction.strip() else "(nothing)"
