"""Writes `history.jsonl`: one line a step, with the validation metrics where they were taken."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from rung.engine import fsio
from rung.engine.loop import Progress

_KEPT = "history"


def restore(path: Path, progress: Progress) -> bool:
    """Cut the history back to the lines that the checkpoint has seen; whether they are as they were then.

    Args:
        path: The file.
        progress: Where the run starts from.
    """
    seen = progress.scalars.get(_KEPT, {"lines": 0, "sha256": hashlib.sha256().hexdigest()})
    if path.exists():
        fsio.keep_lines(path, seen["lines"])
    else:
        fsio.write_text(path, "")
    return fsio.sha256_file(path) == seen["sha256"]


class History:
    """Appends a line after each step, and keeps in `progress.scalars` what a checkpoint must find again.

    Args:
        path: The file; `restore` has cut it back to where the run starts from.
        steps_per_epoch: To tell the epoch.
        progress: Where the run starts from.
    """

    def __init__(self, path: Path, steps_per_epoch: int, progress: Progress) -> None:
        self.path = path
        self.steps_per_epoch = steps_per_epoch
        kept = path.read_bytes() if path.exists() else b""
        self._lines = len(kept.splitlines())
        self._digest = hashlib.sha256(kept)
        self._before = float(json.loads(kept.splitlines()[-1])["seconds"]) if kept else progress.seconds
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
        if progress.validation is not None:
            row["validation"] = dict(progress.validation)
        line = json.dumps(row)
        fsio.append_line(self.path, line, durable="validation" in row)
        self._lines += 1
        self._digest.update(fsio.encode(line + "\n"))
        progress.scalars[_KEPT] = {"lines": self._lines, "sha256": self._digest.hexdigest()}

    def seconds(self) -> float:
        """Seconds since the run's very start, stops left out."""
        return self._before + time.perf_counter() - self._began
