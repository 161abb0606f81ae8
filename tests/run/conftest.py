"""A small table of texts, and run settings over it and a tiny model."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rung.run import RunConfig

GOOD = ["joy", "warm", "played", "well", "start", "film", "prize", "dinner"]
BAD = ["dull", "worst", "poor", "no", "jokes", "evening", "years", "plot"]
REST = [f"word{number}" for number in range(60)]

Configure = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """140 rows of `text` and `label`, no two alike."""
    chance = random.Random(0)
    path = tmp_path_factory.mktemp("data") / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(140):
            label, words = ("good", GOOD) if number % 2 else ("bad", BAD)
            writer.writerow([" ".join(chance.sample(words, 3) + chance.sample(REST, 4)), label])
    return path


@pytest.fixture
def configure(table: Path, tiny_models: dict[str, Path], tmp_path: Path) -> Configure:
    """Settings of a run of some seconds: `configure("llama", {"type": "lora"}, "out", save_steps=2)`."""

    def made(model: str | None, method: dict[str, Any], out: str = "out", **training: Any) -> RunConfig:
        settings = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "save_steps": 3, **training}
        body = {
            "data": {"train": str(table), "test_size": 0.25, "near_duplicates": False},
            "task": {"type": "classification", "text": "text", "label": "label"},
            "method": method,
            "training": settings,
            "num_threads": 1,
            "max_length": 200,
            "output_dir": str(tmp_path / out),
        }
        return RunConfig.model_validate(body | ({} if model is None else {"model": str(tiny_models[model])}))

    return made


@pytest.fixture
def stop_at() -> Callable[..., Callable[[int], Any]]:
    """An end after a step, Ctrl-C or another: `execute(config, {}, watch=stop_at(5))`, `stop_at(5, Stopped)`."""

    class Stop:
        def __init__(self, step: int, error: type[BaseException]) -> None:
            self.step, self.error = step, error

        def after_step(self, progress: Any) -> None:
            if progress.step == self.step:
                raise self.error

    return lambda step, error=KeyboardInterrupt: lambda total: Stop(step, error)
