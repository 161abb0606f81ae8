"""What written answers are measured by: what each row adds to every metric, and the metrics of all rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rung.evaluate.generating import Likelihoods, Written
from rung.evaluate.intervals import sums_interval
from rung.metrics.metric import Floats, scores
from rung.metrics.written import WRITTEN
from rung.tasks.generation import Generation
from rung.types import Prediction, Record


@dataclass(frozen=True, slots=True)
class WrittenRows:
    """Rows as they enter the metrics.

    Attributes:
        measured: The metrics that are computed, the main one first.
        sums: By the name under which it is kept: `[N, K]` what each row adds.
        cut: Rows whose right answer was too long and lost its end; None where no likelihood was taken.
        endings: Why each answer ended: `stop` or `length`.
    """

    measured: tuple[str, ...]
    sums: Mapping[str, Floats]
    cut: int | None
    endings: tuple[str, ...]

    def line(self, row: int) -> dict[str, Any]:
        """What `predictions.jsonl` holds of a row: from these sums every metric can be computed again."""
        sums = {name: [float(part) for part in rows[row]] for name, rows in self.sums.items()}
        return {"finish_reason": self.endings[row], "sums": sums}


def written_rows(
    task: Generation, records: Sequence[Record], predictions: Sequence[Prediction], found: Likelihoods | None
) -> WrittenRows:
    """What each row adds to the task's metrics, to the lengths and to how answers ended.

    Args:
        task: The task.
        records: The rows.
        predictions: Their written answers.
        found: How likely the right ones are; None where nobody asked, or the model can't say.
    """
    sums = task.text_rows([task.truth(record) for record in records], predictions)
    if found is not None:
        sums["loss"] = np.stack([found.sums, found.counts], axis=1)
    written = [one for one in predictions if isinstance(one, Written)]
    stopped = np.asarray([float(one.finished) for one in written])
    sums |= {"share_stopped": scores(stopped), "share_cut": scores(1 - stopped)}
    tokens = [one.tokens for one in written if one.tokens is not None]
    if len(tokens) == len(predictions):
        sums["mean_tokens"] = scores(np.asarray(tokens, dtype=np.float64))
    own = [name for name in sums if name not in task.measured]
    known = [name for name in task.measured if WRITTEN[name].rows in sums]
    cut, endings = None if found is None else found.cut, tuple(one.finish_reason for one in written)
    return WrittenRows((*known, *(name for name in own if name != "loss")), sums, cut, endings)


def written_metrics(rows: WrittenRows) -> dict[str, Any]:
    """Each metric with its 95 % interval, and the rows that were counted and cut, as `metrics.json` holds them."""
    metrics: dict[str, Any] = {}
    for name in rows.measured:
        metric, parts = WRITTEN[name], rows.sums[WRITTEN[name].rows]
        assert metric.value is not None
        low, high = sums_interval(parts, metric.value)
        metrics[name] = {"value": metric.of(parts), "low": low, "high": high}
    cut = {} if rows.cut is None else {"rows_cut": rows.cut}
    return {**metrics, "rows": len(rows.sums["share_stopped"]), **cut}
