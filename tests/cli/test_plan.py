from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from rung.cli.app import main
from rung.run.expected import PLAN


@pytest.fixture
def settings(tiny_models: dict[str, Path], tmp_path: Path) -> dict[str, object]:
    """A run of a tiny model over forty rows."""
    data = tmp_path / "rows.csv"
    lines = [
        f"{word} {number},{'good' if word == 'joy' else 'bad'}" for number in range(30) for word in ("joy", "dull")
    ]
    data.write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return {
        "data": {"train": str(data), "near_duplicates": False},
        "model": str(tiny_models["bert"]),
        "method": {"type": "lora", "r": 4},
        "training": {"num_train_epochs": 1},
        "num_threads": 1,
        "output_dir": str(tmp_path / "out"),
    }


def write(settings: dict[str, object], path: Path) -> str:
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return str(path)


def test_a_run_is_planned_without_a_step(settings, tmp_path: Path, capsys):
    path = write(settings, tmp_path / "run.yaml")
    assert main(["plan", path, "--no-probe", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["forecast"]["rows"] == planned["rows"]["train"]
    assert planned["forecast"]["steps"] == -(-planned["rows"]["train"] // 16)
    assert planned["seconds"] is None
    assert [file.name for file in (tmp_path / "out").iterdir()] == [PLAN]
    assert main(["plan", path, "training.per_device_train_batch_size=1", "--no-probe"]) == 0
    shown = capsys.readouterr().out
    assert f"│ steps                  │ {planned['rows']['train']} (1 passes)" in shown
    assert "total time" not in shown


def test_a_ladder_is_planned_rung_by_rung(settings, tmp_path: Path, tiny_models, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    del settings["method"], settings["model"]
    methods = ["zero_shot", {"type": "lora", "r": 4}]
    settings |= {"models": [{"name": str(tiny_models["bert"]), "methods": methods}], "controls": ["majority"]}
    path = write(settings, tmp_path / "ladder.yaml")
    assert main(["plan", path, "--no-probe"]) == 0
    shown = capsys.readouterr()
    rows = [line.split("│")[1:-1] for line in shown.out.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows if row[0].strip()] == ["majority", "lora-bert"]
    assert "! zero_shot-bert: method=zero_shot prompts the model, and an encoder can't be prompted" in shown.out
    assert "Total time" not in shown.out
    out = tmp_path / "out"
    assert [str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()] == [f"runs/lora-bert/{PLAN}"]


def test_a_ladder_of_seeds_is_planned_with_the_first(settings, tmp_path: Path, tiny_models, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "160")
    models = [{"name": str(tiny_models["bert"]), "methods": [settings.pop("method")]}]
    del settings["model"]
    path = write(settings | {"models": models, "controls": ["majority"], "seeds": [7, 8]}, tmp_path / "ladder.yaml")
    assert main(["plan", path, "--no-probe"]) == 0
    assert "│ lora-bert (each of 2 seeds) │" in capsys.readouterr().out
    out = tmp_path / "out"
    assert [str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()] == [
        f"runs/lora-bert/seed-7/{PLAN}"
    ]


def test_a_mistake_is_named_as_anywhere(settings, tmp_path: Path, capsys):
    path = write(settings, tmp_path / "run.yaml")
    assert main(["plan", path, "data.train=/absent.csv"]) == 2
    assert "/absent.csv: no such file" in capsys.readouterr().err
