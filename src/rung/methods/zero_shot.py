"""Zero-shot: the instruction alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rung.methods.base import PromptMethod, Scorer
from rung.methods.calibration import calibrated
from rung.tasks.base import Task
from rung.types import Prompt, Record


class ZeroShot(PromptMethod):
    """Ask with the instruction and no example."""

    type: Literal["zero_shot"] = "zero_shot"
    calibration: bool = True
    """Contextual calibration (Zhao et al. 2021)."""

    def fit(self, scorer: Scorer, task: Task, train: Sequence[Record], seed: int) -> Prompt:
        """The task's prompt, calibrated where there are labels."""
        return calibrated(scorer, task, task.prompt, train[0]) if self.calibration and task.labels else task.prompt
