"""Zero-shot: the instruction alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from rung.methods.base import PromptMethod, Scorer
from rung.methods.calibration import calibrated
from rung.methods.tuning import Tuning
from rung.tasks.base import Task
from rung.types import Prompt, Record


class ZeroShot(PromptMethod):
    """Ask with the instruction and no example."""

    type: Literal["zero_shot"] = "zero_shot"
    calibration: bool = True
    """Contextual calibration (Zhao et al. 2021)."""
    chat_template: bool = True
    """Whether turns are written in the model's own chat template; False = as plain text."""

    def fit(
        self, scorer: Scorer, task: Task, train: Sequence[Record], seed: int, tuning: Tuning | None = None
    ) -> Prompt:
        """The task's prompt, calibrated where there are labels."""
        prompt = replace(task.prompt, chat_template=self.chat_template)
        return calibrated(scorer, task, prompt, train[0]) if self.calibration and task.labels else prompt
