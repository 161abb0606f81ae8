"""Loads one base and many LoRAs on it, and says what the process holds."""

from __future__ import annotations

import ctypes
import gc
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.growth_rows import memory, write_rows
from benchmarks.rows import MODEL
from rung.base import Base
from rung.engine import fsio
from rung.run import RunConfig, execute

WEIGHTS = "adapter_model.safetensors"
NOISE = 1e-2
"""Spread of the noise on a copy's weights: no two files, and no two answers, are alike."""


def loaded(args: dict[str, Any]) -> dict[str, Any]:
    """Resident bytes of the base, of `runs` LoRAs of rank `r` on it, and after a batch with a row of each.

    Returns:
        What README.md asks for (`seconds` are those of the batch); `base_bytes`, `added_bytes`, `file_bytes`,
        `mixed_bytes`.
    """
    with tempfile.TemporaryDirectory(prefix="rung-many-") as temporary:
        place = Path(temporary)
        first = trained(place, args)
        folders = copies(place, first, args["runs"])
        files = sum((folder / WEIGHTS).stat().st_size for folder in folders)
        start = resident()
        base = Base(MODEL)
        base.with_(first)  # checked against its golden rows, then dropped
        at_base = resident()
        runs = [base.with_(folder) for folder in folders]
        at_runs = resident()
        asked = [(run, {"text": f"text {number}"}) for number, run in enumerate(runs)]
        began = time.perf_counter()
        answers = base.predict(asked)
        seconds = time.perf_counter() - began
        at_end = resident()
    return {
        "rows": len(answers),
        "seconds": seconds,
        "tokens": 0,
        "base_bytes": at_base - start,
        "added_bytes": at_runs - at_base,
        "file_bytes": files,
        "mixed_bytes": at_end - at_runs,
        "settings": {"precision": base.dtype, **args},
    }


def trained(place: Path, args: dict[str, Any]) -> Path:
    """A run of one step, which leaves behind in this process what every run does."""
    write_rows(place / "rows.csv", 400)
    config = RunConfig.model_validate(
        {
            "data": {"train": str(place / "rows.csv"), "max_train_rows": 8, "max_validation_rows": 8}
            | {"max_test_rows": args["rows"], "near_duplicates": False},
            "model": MODEL,
            "method": {"type": "lora", "r": args["r"]},
            "training": {"num_train_epochs": 1, "per_device_train_batch_size": 8},
            "output_dir": str(place / "first"),
        }
    )
    return execute(config, {})


def copies(place: Path, first: Path, count: int) -> list[Path]:
    """Copies of a run, each with weights of its own; they answer otherwise, so they have no golden rows."""
    folders = []
    for number in range(count):
        folder = place / f"copy-{number}"
        shutil.copytree(first, folder)
        noise = torch.Generator().manual_seed(number)
        weights = {
            name: value + NOISE * torch.randn(value.shape, generator=noise)
            for name, value in load_file(first / WEIGHTS).items()
        }
        save_file(weights, folder / WEIGHTS)
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        (folder / "golden.jsonl").write_text("", encoding="utf-8")
        run["files"] |= {name: fsio.sha256_file(folder / name) for name in (WEIGHTS, "golden.jsonl")}
        (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
        folders.append(folder)
    return folders


def resident() -> int:
    """Bytes the process holds, what it has freed given back to the system first (glibc)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return memory()["resident"]
