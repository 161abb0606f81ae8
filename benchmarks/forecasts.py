"""What `rung plan` foretells, beside what then happens: memory, seconds of a step, total time.

Each run is planned and then made by the commands that a user types, one after the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.runner import ROOT
from benchmarks.spec import Size, Spec, Survey
from rung.models.cache import cache_root

WITHIN = 0.2
"""By how much of the outcome a forecast may miss it."""
DECODER, ENCODER = "smollm2-135m-instruct", "minilm-l6"
SMALL = {"max_train_rows": 256, "max_validation_rows": 64, "max_test_rows": 64}
FEW = {"max_train_rows": 40, "max_validation_rows": 8, "max_test_rows": 8}
SPAM: dict[str, Any] = {
    "data": {"train": "examples/data/sms_spam.tsv", **SMALL},
    "task": {"type": "classification", "instruction": "Decide whether a text message is spam or ham."},
    "model": DECODER,
}
MATHS: dict[str, Any] = {
    "data": {"train": "examples/data/gsm8k_train.jsonl", **FEW},
    "task": {"type": "generation", "prompt": "question", "completion": "answer", "max_new_tokens": 32},
    "model": DECODER,
}
INTENTS: dict[str, Any] = {
    "data": {
        **{"train": "examples/data/banking77_train.csv", "test": "examples/data/banking77_test.csv"},
        **{"max_train_rows": 1024, "max_validation_rows": 200, "max_test_rows": 500, "near_duplicates": False},
    },
    "task": {"type": "classification", "text": "text", "label": "category"},
    "model": ENCODER,
}
RUNS: dict[str, dict[str, Any]] = {
    "lora_sms": {**SPAM, "method": "lora", "training": {"per_device_train_batch_size": 16}},
    "lora_gsm8k": {**MATHS, "method": "lora", "training": {"per_device_train_batch_size": 8}},
    "full_gsm8k": {**MATHS, "method": "full", "training": {"per_device_train_batch_size": 8}},
    "encoder_full": {**INTENTS, "method": "full", "training": {"per_device_train_batch_size": 32}},
    "encoder_head": {**INTENTS, "method": "head_only", "training": {"per_device_train_batch_size": 32}},
}
EPOCHS = 1


def benches(size: Size) -> list[Survey]:
    """The runs of the training benches, through the whole command."""
    specs = [
        Spec(f"forecast.{name}", "forecasts:plan_then_train", {"settings": settings}, name, timeout=600)
        for name, settings in list(RUNS.items())[: 1 if size.smoke else None]
    ]
    return [Survey("forecast", "what `rung plan` foretells, and what becomes of it", specs, "forecasts:render")]


def plan_then_train(args: dict[str, Any]) -> dict[str, Any]:
    """Plan a run, make it, and read both off its `run.json`.

    Args:
        args: `settings` of the run, without epochs and output folder.
    """
    with tempfile.TemporaryDirectory(prefix="rung-forecast-") as folder:
        # A settings file may be YAML, of which JSON is a part.
        file, out = Path(folder) / "run.yaml", Path(folder) / "out"
        training = {**args["settings"]["training"], "num_train_epochs": EPOCHS}
        settings = {**args["settings"], "training": training, "output_dir": str(out)}
        file.write_text(json.dumps(settings), encoding="utf-8")
        for verb in ("plan", "train"):
            environment = {**os.environ, "RUNG_CACHE": str(_cache(Path(folder) / verb))}
            subprocess.run([sys.executable, "-m", "rung", verb, str(file)], cwd=ROOT, env=environment, check=True)
        written = json.loads((out / "run.json").read_text(encoding="utf-8"))
    told, came = written["forecast"], written["outcome"]
    return {
        "rows": told["rows"] * EPOCHS,
        "tokens": told["tokens"] * EPOCHS,
        "seconds": came["seconds"],
        "told": {
            "peak GB": told["memory"]["peak"] / 1e9,
            "s a step": told["seconds"]["step"],
            "s in all": told["seconds"]["total"],
        },
        "came": {
            "peak GB": came["peak_memory_bytes"] / 1e9,
            "s a step": came["seconds_per_step"],
            "s in all": came["seconds"],
        },
    }


def _cache(cache: Path) -> Path:
    """A cache with the user's own models, and without features that the plan or an earlier run has left there."""
    cache.mkdir()
    for name in ("models", "hashes"):
        (cache / name).symlink_to(cache_root() / name)
    return cache


def render(found: Mapping[str, Any]) -> list[str]:
    """The table as markdown, and what missed."""
    runs = {name.partition(".")[2]: one for name, one in found.items() if one["status"] == "ok"}
    if not runs:
        return ["Not measured yet.", ""]
    kinds = list(next(iter(runs.values()))["told"])
    lines = [f"| run | {' | '.join(f'{kind}: told, came' for kind in kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    missed = []
    for name, one in runs.items():
        cells = []
        for kind in kinds:
            told, came = one["told"][kind], one["came"][kind]
            off = told / came - 1
            cells.append(f"{told:.3g}, {came:.3g} ({off:+.0%})")
            missed += [f"{name}, {kind} ({off:+.0%})"] if abs(off) > WITHIN else []
        lines.append(f"| {name} | {' | '.join(cells)} |")
    told = f"More than {WITHIN:.0%} off: {'; '.join(missed)}." if missed else f"All within {WITHIN:.0%}."
    return [*lines, "", told, ""]
