"""Contextual calibration: what the prompt makes the model say about nothing is taken off its answers.

Paper: Zhao et al. 2021, "Calibrate Before Use", arXiv 2102.09690.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from rung.methods.base import Scorer
from rung.tasks.base import Task
from rung.types import Prompt, Record

FILLERS = ("N/A", "[MASK]", "")
"""The paper's content-free inputs."""


def calibrated(scorer: Scorer, task: Task, prompt: Prompt, record: Record) -> Prompt:
    """A prompt with the log-prior it puts on each label.

    Args:
        scorer: Predicts under a prompt.
        task: The task.
        prompt: The prompt to calibrate.
        record: Any record: its texts are replaced by the content-free fillers.

    Returns:
        The prompt with `calibration` set to the log of the mean probability per label; as it was, where the scorer
        gives labels without probabilities.
    """
    bare = replace(prompt, calibration=None)
    predictions = scorer.predict([task.content_free(record, filler) for filler in FILLERS], bare)
    rows: list[Sequence[float]] = [one.probabilities for one in predictions if one.probabilities is not None]
    if not rows:
        return bare
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return replace(prompt, calibration=tuple(math.log(max(mean, 1e-12)) for mean in means))
