"""What `rung plan` foretells, beside what then happens: memory, seconds of a step, total time.

Each run is planned and then made by the commands that a user types, one after the other.
"""

from __future__ import annotations

import json
import os
import statistics
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
PAIRS = {"encoder_head": 5}
"""Runs that are planned and made more than once: its step takes a millisecond, the run's steps a twentieth of a second,
and one core's speed changes by a half from one such moment to the next."""


def benches(size: Size) -> list[Survey]:
    """The runs of the training benches, through the whole command."""
    specs = [
        Spec(
            f"forecast.{name}",
            "forecasts:plan_then_train",
            {"settings": settings, "pairs": PAIRS.get(name, 1)},
            name,
            timeout=600,
        )
        for name, settings in list(RUNS.items())[: 1 if size.smoke else None]
    ]
    return [Survey("forecast", "what `rung plan` foretells, and what becomes of it", specs, "forecasts:render")]


def plan_then_train(args: dict[str, Any]) -> dict[str, Any]:
    """Plan a run, make it, and read both off its `run.json`.

    Args:
        args: `settings` of the run, without epochs and output folder; `pairs` of a plan and a run to make.

    Returns:
        `rows`, `tokens` and `seconds` of the last pair; `told` and `came`: by what was foretold, a figure per pair.
    """
    pairs = [_pair(args["settings"]) for _ in range(args["pairs"])]
    told, came = pairs[-1]
    return {
        "rows": told["rows"] * EPOCHS,
        "tokens": told["tokens"] * EPOCHS,
        "seconds": came["seconds"],
        "told": {
            "peak GB": [told["memory"]["peak"] / 1e9 for told, _ in pairs],
            "s a step": [told["seconds"]["step"] for told, _ in pairs],
            "s in all": [told["seconds"]["total"] for told, _ in pairs],
        },
        "came": {
            "peak GB": [came["peak_memory_bytes"] / 1e9 for _, came in pairs],
            "s a step": [came["seconds_per_step"] for _, came in pairs],
            "s in all": [came["seconds"] for _, came in pairs],
        },
    }


def _pair(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run's forecast and its outcome, by the commands that a user types."""
    with tempfile.TemporaryDirectory(prefix="rung-forecast-") as folder:
        # A settings file may be YAML, of which JSON is a part.
        file, out = Path(folder) / "run.yaml", Path(folder) / "out"
        training = {**settings["training"], "num_train_epochs": EPOCHS}
        file.write_text(json.dumps({**settings, "training": training, "output_dir": str(out)}), encoding="utf-8")
        for verb in ("plan", "train"):
            environment = {**os.environ, "RUNG_CACHE": str(_cache(Path(folder) / verb))}
            subprocess.run([sys.executable, "-m", "rung", verb, str(file)], cwd=ROOT, env=environment, check=True)
        written = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return written["forecast"], written["outcome"]


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
            each = [plan / run - 1 for plan, run in zip(told, came, strict=True)]
            off = statistics.median(each)
            ends = f"; {len(each)} pairs: {min(each):+.0%} to {max(each):+.0%}" if len(each) > 1 else ""
            cells.append(f"{statistics.median(told):.3g}, {statistics.median(came):.3g} ({off:+.0%}{ends})")
            missed += [f"{name}, {kind} ({off:+.0%})"] if abs(off) > WITHIN else []
        lines.append(f"| {name} | {' | '.join(cells)} |")
    told = f"More than {WITHIN:.0%} off: {'; '.join(missed)}." if missed else f"All within {WITHIN:.0%}."
    return [*lines, "", told, ""]
