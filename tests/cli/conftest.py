"""A ladder climbed once through the command line on tiny random models; tests read it, or work on a copy."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

ANSWERS = {"good": ["joy", "warm", "bright", "fine", "lovely"], "bad": ["dull", "poor", "grim", "weak", "worst"]}
FILLER = ["plot", "film", "actor", "scene", "music", "story", "evening", "script", "joke", "heart", "ending", "camera"]


@dataclass(frozen=True)
class Place:
    """A folder with data, tiny models and a ladder's settings.

    Attributes:
        folder: Where the settings and the ladder are.
        models: Name to folder of each tiny model.
        data: The rows.
    """

    folder: Path
    models: dict[str, Path]
    data: Path

    @property
    def settings(self) -> Path:
        return self.folder / "ladder.yaml"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def runs(self) -> Path:
        return self.out / "runs"

    def ladder(self, **changed: Any) -> dict[str, Any]:
        """The settings, with keys replaced."""
        bert = {"name": str(self.models["bert"]), "methods": ["zero_shot", {"type": "lora", "r": 4}]}
        llama = {"name": str(self.models["llama"]), "methods": [{"type": "few_shot", "num_shots": 2}]}
        return {
            "data": {"train": str(self.data), "near_duplicates": False},
            "models": [bert, llama],
            "controls": ["majority"],
            "training": {"num_train_epochs": 2, "per_device_train_batch_size": 16},
            "learning_curve": False,
            "num_threads": 1,
            "output_dir": str(self.out),
            **changed,
        }

    def write(self, **changed: Any) -> Path:
        """Write the settings; gives their path."""
        self.settings.write_text(yaml.safe_dump(self.ladder(**changed)), encoding="utf-8")
        return self.settings

    def report(self) -> dict[str, Any]:
        return json.loads((self.out / "report.json").read_text(encoding="utf-8"))

    def statuses(self) -> dict[str, str]:
        return {rung["name"]: rung["status"] for rung in self.report()["rungs"]}


def rung(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own; no traceback may reach the user, whatever happens."""
    done = subprocess.run(
        [sys.executable, "-m", "rung", *map(str, words)], capture_output=True, text=True, timeout=300, **options
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def write_reviews(path: Path, rows: int = 120) -> Path:
    """Rows that a bag of words can tell apart."""
    draw = random.Random(0)
    lines = ["text,label"]
    for number in range(rows):
        label = ("bad", "good")[number % 2]
        words = draw.choices(FILLER, k=5) + draw.choices(ANSWERS[label], k=3)
        draw.shuffle(words)
        lines.append(f"{' '.join(words)},{label}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def cli() -> Any:
    return rung


@pytest.fixture(scope="session")
def climbed(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Place:
    """A finished ladder, shared by all workers: read it, never write to it."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "climbed"
    place = Place(shared, {name: shared / "models" / name for name in ("bert", "llama")}, shared / "reviews.csv")
    with FileLock(f"{shared}.lock"):
        if not (shared / "done").exists():
            for name, folder in place.models.items():
                shutil.copytree(tiny_models[name], folder)
            write_reviews(place.data)
            done = rung("climb", place.write())
            assert done.returncode == 0, done.stderr
            (shared / "stdout").write_text(done.stdout, encoding="utf-8")
            (shared / "stderr").write_text(done.stderr, encoding="utf-8")
            (shared / "done").touch()
    return place


@pytest.fixture
def place(climbed: Place, tmp_path: Path) -> Place:
    """A copy of the finished ladder, on the same models and rows."""
    copy = Place(tmp_path / "copy", climbed.models, climbed.data)
    shutil.copytree(climbed.out, copy.out)
    copy.write()
    return copy


@pytest.fixture
def fresh(climbed: Place, tmp_path: Path) -> Place:
    """Rows and copies of the models, and nothing run yet."""
    models = {name: tmp_path / "models" / name for name in climbed.models}
    for name, folder in models.items():
        shutil.copytree(climbed.models[name], folder)
    return Place(tmp_path, models, climbed.data)
