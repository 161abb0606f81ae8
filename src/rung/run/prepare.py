"""From settings to the parts of a run: data, task, model, adapted model."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from rung.compute.output import OutputLayer
from rung.data.load import LoadedData
from rung.data.settings import DataConfig
from rung.errors import DataError
from rung.methods.adapted import Adapted
from rung.methods.base import WeightMethod
from rung.models.devices import resolve_device, resolve_dtype
from rung.models.facts import ModelFacts
from rung.objectives.base import Objective
from rung.run.config import RunConfig
from rung.run.heap import bound_kernels
from rung.run.start import Opened, attach
from rung.tasks.base import Task
from rung.tasks.union import AnyTask

RECORDED = ("rung", "torch", "transformers", "peft", "tokenizers", "scikit-learn", "numpy", "safetensors")


def read_data(config: DataConfig, asked: AnyTask) -> LoadedData:
    """Read, split and check the rows.

    Raises:
        DataError: They can't be used, or there are none to select on.
    """
    data = asked.load(config)
    if not data.splits.validation:
        raise DataError(
            "there are no validation rows, on which the best weights and the best rung are selected",
            "Give data.validation a file, or data.validation_size a share above 0.",
        )
    return data


def prepare_data(config: RunConfig) -> tuple[LoadedData, Task]:
    """Read, split and check the rows, and settle the task on them."""
    asked = config.task
    data = read_data(config.data, asked)
    found = data.columns
    columns = tuple(data.splits.train[0].fields)
    return data, asked.resolve(found.text, found.text_pair, found.label, data.labels, columns)


def execution(config: RunConfig, facts: ModelFacts | None) -> dict[str, Any]:
    """Every choice that the machine has a say in: resolved once, recorded, reused on resume.

    A pure function of settings and static facts of the machine; no timing has a say.
    """
    threads = config.num_threads or psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if facts is None:
        return {"threads": threads}
    if facts.kind == "endpoint":
        return {"threads": threads, "max_length": config.max_length}
    device = resolve_device(config.device)
    virtual = config.method.virtual_tokens if isinstance(config.method, WeightMethod) else 0
    return {
        "device": device,
        "dtype": str(resolve_dtype(config.precision, device)).removeprefix("torch."),
        **({} if config.quantization == "none" else {"quantization": config.quantization}),
        "threads": threads,
        "isa": torch.backends.cpu.get_cpu_capability(),
        "max_length": min(config.max_length, facts.max_length - virtual),
        "compiler": shutil.which(os.environ.get("CXX", "g++")) is not None,
    }


def settle_machine(choices: Mapping[str, Any]) -> None:
    """Threads and kernels as recorded: the same settings give the same bytes."""
    bound_kernels()
    torch.set_num_threads(int(choices["threads"]))
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Else every new tensor is first filled with NaN, which is a tenth of a step and changes no result.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]


def adapt(method: WeightMethod | None, opened: Opened, task: Task, objective: Objective | None, seed: int) -> Adapted:
    """Attach the method, with the objective's output layer built first; None leaves the start as it is."""
    family = opened.family
    spec = None if objective is None else objective.head(task)
    head = None if spec is None else OutputLayer(spec, family.module.config.hidden_size, seed)
    if head is not None:
        head.to(family.embedding.weight.device)
    if method is None:
        return untouched(opened, head)
    return attach(method, opened, head, seed)


def untouched(opened: Opened, head: OutputLayer | None = None) -> Adapted:
    """A start as it is, frozen, with an output layer or none."""
    opened.family.module.requires_grad_(False)
    return Adapted(opened.family, head, below=opened.below)


def versions() -> dict[str, str]:
    """Versions of what computes."""
    return {"python": platform.python_version()} | {name: version(name) for name in RECORDED}


def hardware() -> dict[str, Any]:
    """What the run ran on."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
