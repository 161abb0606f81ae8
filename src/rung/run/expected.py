"""What was expected of a run, beside what became of it: `plan.json`, and two entries of `run.json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rung.compute.recompute import recompute_layers
from rung.engine import fsio
from rung.engine.settings import TrainingConfig
from rung.methods.adapted import Adapted
from rung.methods.base import WeightMethod
from rung.run.forecast import Forecast, forecast
from rung.run.memory_model import FITS, machine_memory, require_room
from rung.types import Row

PLAN = "plan.json"


def settle_memory(
    adapted: Adapted,
    method: WeightMethod,
    rows: Sequence[Row],
    settings: TrainingConfig,
    model: Path,
    say: Callable[[str], None],
) -> Forecast:
    """Foretell a run, recompute layers where it would not fit otherwise, and say so when it does not fit even so.

    Args:
        adapted: The model with the method attached; its layers are recomputed from here on if need be.
        method: The method.
        rows: The encoded training rows.
        settings: The training settings, with the epochs settled.
        model: The model's folder.
        say: Told in sentences.

    Raises:
        OutOfMemoryError: Weights, gradients and moments alone don't fit.
    """
    limit = machine_memory(adapted.family.embedding.weight.device)
    found = forecast(adapted, method, rows, settings, model, limit)
    memory = found.memory
    certain = memory.weights + memory.optimizer + memory.gradients
    require_room(certain, limit, "weights, gradients and moments alone")
    if found.gradient_checkpointing:
        recompute_layers(adapted.family)
        if settings.gradient_checkpointing == "auto":
            say("The run would not fit into memory: layers are computed again in the backward pass.")
    if memory.peak > FITS * limit:
        say(
            f"The run needs about {memory.peak / 1e9:.1f} GB of memory, and this machine has {limit / 1e9:.1f} GB: it "
            "may be ended for want of memory. A smaller training.per_device_train_batch_size, max_length or model "
            "needs less; so does method=lora."
        )
    return found


def write_plan(folder: Path, key: str, planned: Mapping[str, Any]) -> None:
    """Keep a plan beside the run it is for, unless that is finished."""
    if not (folder / "run.json").exists():
        fsio.write_json(folder / PLAN, {"identity": key, **planned})


def expectation(folder: Path, key: str, found: Forecast | None) -> dict[str, Any] | None:
    """The forecast of a run as `run.json` records it, with the seconds that `rung plan` foretold for this very run.

    Args:
        folder: The run's folder.
        key: The run's identity.
        found: The forecast; None for a run that trains nothing.
    """
    told = None if found is None else found.as_dict()
    path = folder / PLAN
    if not path.exists():
        return told
    planned = json.loads(path.read_text(encoding="utf-8"))
    if planned["identity"] != key:
        return told
    return {**(told or {}), "seconds": planned["seconds"]}
