"""Writes `history.jsonl`: one line a step, with the validation metrics where they were taken."""

from __future__ import annotations

import json
import time
from pathlib import Path

from rung.engine import fsio
from rung.engine.callbacks.scoring import Scoring
from rung.engine.loop import Progress


class History:
    """Appends a line after each step; a resumed run drops the lines past its checkpoint first.

    Args:
        path: The file.
        scoring: Where the latest validation metrics are, or None.
        steps_per_epoch: To tell the epoch.
        resumed_at: Step the run starts from.
    """

    def __init__(self, path: Path, scoring: Scoring | None, steps_per_epoch: int, resumed_at: int) -> None:
        self.path = path
        self.scoring = scoring
        self.steps_per_epoch = steps_per_epoch
        if path.exists():
            fsio.keep_lines(path, resumed_at)
        kept = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._before = float(json.loads(kept[-1])["seconds"]) if kept else 0.0
        self._began = time.perf_counter()

    def after_step(self, progress: Progress) -> None:
        """One line."""
        row = {
            "step": progress.step,
            "epoch": round(progress.step / self.steps_per_epoch, 4),
            "loss": progress.loss,
            "learning_rate": progress.learning_rate,
            "grad_norm": progress.grad_norm,
            "seconds": round(self.seconds(), 3),
        }
        if self.scoring is not None and self.scoring.latest is not None:
            row["validation"] = dict(self.scoring.latest)
        fsio.append_line(self.path, json.dumps(row), durable="validation" in row)

    def scored(self, step: int) -> dict[str, float] | None:
        """The validation metrics taken after a step, or None."""
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return json.loads(lines[step - 1]).get("validation")

    def seconds(self) -> float:
        """Seconds since the run's very start, stops left out."""
        return self._before + time.perf_counter() - self._began
