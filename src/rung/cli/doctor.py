"""`rung doctor`: what this machine offers, and whether a run still answers as it did when it was made."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cyclopts import App

from rung.cli import console

doctor = App(
    name="doctor",
    help_epilogue="""Examples:
  rung doctor
  rung doctor --json
  rung doctor out""",
)

_LIBRARIES = ("rung", "torch", "transformers", "peft", "datasets", "pydantic", "scikit-learn", "numpy")
_BYTES = " bytes"
_LITTLE_SPACE = 2e9
_LITTLE_MEMORY = 2e9


@doctor.default
def _doctor(run: Path | None = None, /, *, json: bool = False) -> int:
    """Look over this machine, or replay a run's golden rows.

    Args:
        run: A run's folder: its stored rows are answered again and compared.
        json: Print what was found as JSON.
    """
    if run is not None:
        return _replay(run, json)
    facts = machine()
    problems = warnings(facts)
    if json:
        console.print_json({**facts, "problems": problems})
        return 0
    rows = [(name.removesuffix(_BYTES), _shown(name, value)) for name, value in facts.items()]
    console.print_result(console.table(("what", "found"), rows))
    for problem in problems:
        console.print_result(f"! {problem}")
    return 0


def _replay(run: Path, json: bool) -> int:
    from rung.artifact import load

    problems = load(run).verify(all=True)
    if json:
        console.print_json({"run": str(run), "problems": problems})
    else:
        for problem in problems:
            console.print_result(problem)
        if not problems:
            console.print_result(f"{run}: every golden row is answered as it was.")
    return 1 if problems else 0


def machine() -> dict[str, Any]:
    """What bears on a run here: versions, processor, precision, memory, cache, disk, devices."""
    import psutil
    import torch

    from rung.models.cache import cache_root, free_bytes
    from rung.models.devices import cpu_has_bf16, resolve_device, resolve_dtype

    device = resolve_device("auto")
    cache = cache_root()
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in _LIBRARIES},
        "system": platform.platform(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cores": psutil.cpu_count(logical=False),
        "processor computes bf16": cpu_has_bf16(),
        "devices": _devices(),
        "device=auto": device,
        "precision=auto": str(resolve_dtype("auto", device)).removeprefix("torch."),
        "memory bytes": psutil.virtual_memory().total,
        "free memory bytes": psutil.virtual_memory().available,
        "cache": str(cache),
        "cache is writable": _is_writable(cache),
        "free disk bytes": free_bytes(cache),
    }


def warnings(facts: dict[str, Any]) -> list[str]:
    """What in the facts will stand in a run's way, with the remedy."""
    found: list[str] = []
    missing = [name for name in _LIBRARIES if facts[name] is None]
    if missing:
        found.append(f"not installed as packages: {', '.join(missing)}. Install Rung with pip.")
    if not facts["cache is writable"]:
        found.append(f"the cache {facts['cache']} can't be written. Point RUNG_CACHE to a folder that can.")
    if facts["free disk bytes"] < _LITTLE_SPACE:
        found.append("less than 2 GB of disk is free where the cache lies. Free some, or point RUNG_CACHE elsewhere.")
    if facts["free memory bytes"] < _LITTLE_MEMORY:
        found.append("less than 2 GB of memory is free. Close other programs, or choose a small model: bert-tiny.")
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> list[str]:
    import torch

    found = ["cpu"]
    if torch.backends.mps.is_available():
        found.append("mps")
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory
        found.append(f"cuda:{index} {torch.cuda.get_device_name(index)} {memory / 1e9:.0f} GB")
    return found


def _is_writable(folder: Path) -> bool:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.access(existing, os.W_OK | os.X_OK)


def _shown(name: str, value: Any) -> str:
    from rung.ladder.units import size

    if value is None:
        return "not found"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return size(value) if name.endswith(_BYTES) else str(value)
