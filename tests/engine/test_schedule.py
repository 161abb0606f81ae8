from __future__ import annotations

import pytest
import torch
from transformers import get_scheduler

from rung.engine.schedule import ScheduleKind, learning_rate, warmup_count
from rung.errors import ConfigError


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "constant_with_warmup"])
@pytest.mark.parametrize(("total", "warmup"), [(10, 0), (10, 3), (7, 7), (1, 0), (1, 1)])
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
def test_every_step_equals_transformers(kind: ScheduleKind, total: int, warmup: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_scheduler(kind, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    for step in range(total + 1):
        assert learning_rate(step, total, warmup, kind) == pytest.approx(theirs.get_last_lr()[0], rel=1e-15)
        theirs.step()


@pytest.mark.parametrize(("warmup_steps", "count"), [(0, 0), (0.03, 3), (0.031, 4), (0.5, 50), (1, 1), (100, 100)])
def test_below_one_is_a_share(warmup_steps: float, count: int) -> None:
    assert warmup_count(warmup_steps, 100) == count


@pytest.mark.parametrize("warmup_steps", [-1, 1.5, float("nan"), float("inf")])
def test_neither_a_share_nor_a_number_of_steps_is_refused(warmup_steps: float) -> None:
    with pytest.raises(ConfigError, match=f"warmup_steps={warmup_steps} is neither"):
        warmup_count(warmup_steps, 100)


def test_a_warmup_longer_than_the_run_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"warmup_steps=101 of 100 steps in all.*\n.*warmup_steps=0.1"):
        warmup_count(101, 100)
