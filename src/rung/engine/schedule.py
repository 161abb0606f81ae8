"""The learning rate as a pure function of the step, equal to transformers' schedules of the same names."""

from __future__ import annotations

import math
from typing import Literal, assert_never

from rung.errors import ConfigError

ScheduleKind = Literal["linear", "cosine", "constant", "constant_with_warmup"]


def learning_rate(step: int, total: int, warmup: int, kind: ScheduleKind) -> float:
    """The multiplier of the peak learning rate.

    Args:
        step: Optimizer steps already taken: 0 at the first. With a warm-up the first step's rate is 0, as it is in
            transformers.
        total: Optimizer steps of the whole run.
        warmup: Steps over which the rate rises linearly from 0 (`constant` has no warm-up and ignores it).
        kind: `linear` falls to 0 at `total`, `cosine` falls along half a cosine, the other two stay at 1.
    """
    if kind == "constant":
        return 1.0
    if step < warmup:
        return step / warmup
    if kind == "constant_with_warmup":
        return 1.0
    falling = max(1, total - warmup)
    if kind == "linear":
        return max(0.0, (total - step) / falling)
    if kind == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / falling)))
    assert_never(kind)


def warmup_count(warmup_steps: float, total: int) -> int:
    """How many steps the warm-up takes.

    Args:
        warmup_steps: A number of steps, or below 1 a share of `total`, rounded up.
        total: Optimizer steps of the whole run.

    Raises:
        ConfigError: It is negative, not a whole number from 1 up, or longer than the run.
    """
    if not math.isfinite(warmup_steps) or warmup_steps < 0 or (warmup_steps >= 1 and warmup_steps % 1):
        raise ConfigError(
            f"warmup_steps={warmup_steps} is neither a whole number of steps nor a share from 0 to below 1.",
            "Give a share such as 0.03, or a number of steps such as 50.",
        )
    if warmup_steps < 1:
        return math.ceil(total * warmup_steps)
    if warmup_steps > total:
        raise ConfigError(
            f"warmup_steps={warmup_steps:g} of {total} steps in all: the learning rate would never reach its peak.",
            f"Give at most {total}, or a share of the run such as warmup_steps=0.1.",
        )
    return int(warmup_steps)
