"""Whether a run compiles the cheap layers of its model: known from its settings, rows and machine, before it starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rung.errors import ConfigError
from rung.methods.base import WeightMethod
from rung.models.facts import ModelFacts
from rung.run.config import RunConfig
from rung.run.train import settled

WORTHWHILE = 2000
"""Optimizer steps from which compiling pays: about 20 seconds once, about a twentieth of every step after."""


def compiles(config: RunConfig, facts: ModelFacts | None, choices: Mapping[str, Any], rows: int) -> bool:
    """Whether training compiles the norms, gates and rotations of a decoder with `torch.compile`.

    Args:
        config: The settings.
        facts: The model's, or None where there is none.
        choices: The machine's: whether it has a C++ compiler.
        rows: Training rows.

    Returns:
        As set; for `auto`, whether the run is long enough and a C++ compiler is there.

    Raises:
        ConfigError: It is asked for and can't be done.
    """
    asked, method = config.training.torch_compile, config.method
    if asked is False or facts is None or facts.kind != "decoder" or not isinstance(method, WeightMethod):
        return False
    if asked is True and not choices["compiler"]:
        raise ConfigError(
            "training.torch_compile=true needs a C++ compiler, and there is no g++ here",
            "Install g++, or leave torch_compile=auto.",
        )
    settings, _ = settled(config.training, method, facts.kind)
    batch = settings.per_device_train_batch_size * settings.gradient_accumulation_steps
    return asked is True or (bool(choices["compiler"]) and settings.total_steps(math.ceil(rows / batch)) >= WORTHWHILE)
