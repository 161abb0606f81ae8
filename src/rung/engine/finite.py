"""Finds the rows behind a loss or gradient that is not finite, before any weight is moved by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from rung.errors import TrainingError
from rung.types import Batch, Loss

_SHOWN = 16


class NotFiniteError(TrainingError):
    """A step came to NaN or infinity, and was not taken.

    Attributes:
        what_is_not: `loss` or `gradient`.
        step: The step that was not taken, from 1.
        rows: Ids of the rows that caused it.
    """

    def __init__(
        self, what_is_not: str, step: int, rows: Sequence[str], sources: Mapping[str, str] | None = None
    ) -> None:
        self.what_is_not, self.step, self.rows = what_is_not, step, tuple(rows)
        places = {row: f"{row} ({source})" for row, source in (sources or {}).items()}
        named = ", ".join(places.get(row, row) for row in self.rows[:_SHOWN])
        more = f" and {len(self.rows) - _SHOWN} more" if len(self.rows) > _SHOWN else ""
        super().__init__(
            f"the {what_is_not} is not finite at step {step}; rows: {named}{more}",
            "No weight was changed by this step. Look at these rows, or lower learning_rate.",
        )

    def at(self, sources: Mapping[str, str]) -> NotFiniteError:
        """The same error, each row with where it stood: row id to `file:line`."""
        return NotFiniteError(self.what_is_not, self.step, self.rows, sources)


def require_finite_loss(step: int, batch: Batch, loss: Loss) -> None:
    """Refuse a micro-batch's loss that is not finite, before its backward pass.

    Args:
        step: Optimizer steps taken.
        batch: The micro-batch.
        loss: Its loss.

    Raises:
        NotFiniteError: It names the rows whose own loss is not finite; all, when only their sum is not.
    """
    if all(torch.isfinite(term.sum) for term in loss.terms.values()):
        return
    bad = [row.id for row, value in zip(batch.rows, loss.per_row.tolist(), strict=True) if not math.isfinite(value)]
    raise NotFiniteError("loss", step + 1, bad or [row.id for row in batch.rows])


def culprits(batches: Sequence[Batch], gradient_is_finite: Callable[[int, Batch], bool]) -> list[str]:
    """The rows that make a step's gradient not finite, found by halving; costs some passes, and happens once.

    Args:
        batches: The step's micro-batches.
        gradient_is_finite: Whether the gradient of some rows of the micro-batch with this number is finite.

    Returns:
        Ids of the rows, each of which suffices alone; where only rows together do, those together. When each
        micro-batch alone is finite and only their sum is not, all rows of the step.
    """

    def within(number: int, batch: Batch) -> list[str]:
        if gradient_is_finite(number, batch):
            return []
        half = len(batch.rows) // 2
        halves = (Batch(batch.rows[:half]), Batch(batch.rows[half:])) if half else ()
        return [row for part in halves for row in within(number, part)] or [row.id for row in batch.rows]

    found = [row for number, batch in enumerate(batches) for row in within(number, batch)]
    return found or [row.id for batch in batches for row in batch.rows]
