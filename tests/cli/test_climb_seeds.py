"""Several seeds a rung through the command line: each run its own folder and process, and none of them twice."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import rung
from rung.cli.app import main
from rung.config.validation import build
from rung.errors import ConfigError
from rung.ladder.plan import LadderConfig

LEARNING = ("head_only-bert", "lora-bert")


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Each file below a folder: when it was written, and its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@dataclass(frozen=True)
class Ladder:
    """A folder with the settings of a ladder of two seeds, and what was climbed of it."""

    folder: Path
    data: Path
    model: Path

    @property
    def runs(self) -> Path:
        return self.folder / "out" / "runs"

    def settings(self, **changed: Any) -> str:
        """Write the settings, with keys replaced; gives their path."""
        models = [{"name": str(self.model), "methods": ["zero_shot", "head_only", {"type": "lora", "r": 4}]}]
        body = {
            "data": {"train": str(self.data), "near_duplicates": False},
            "models": models,
            "controls": ["majority"],
            "training": {"num_train_epochs": 2, "per_device_train_batch_size": 16},
            "seeds": [7, 8],
            "learning_curve": False,
            "num_threads": 1,
            "output_dir": str(self.folder / "out"),
        }
        path = self.folder / "ladder.yaml"
        path.write_text(yaml.safe_dump(body | changed), encoding="utf-8")
        return str(path)

    def rungs(self) -> dict[str, dict[str, Any]]:
        """The report's rungs by name."""
        report = json.loads((self.folder / "out" / "report.json").read_text(encoding="utf-8"))
        return {one["name"]: one for one in report["rungs"]}


@pytest.fixture(scope="module")
def seeded(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Ladder:
    """A finished ladder: tests read it."""
    folder = tmp_path_factory.mktemp("seeded")
    data = folder / "rows.csv"
    words = {"good": ("joy", "warm", "lovely"), "bad": ("dull", "grim", "poor")}
    lines = [f"{word} film number {at},{label}" for at in range(16) for label, three in words.items() for word in three]
    data.write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    ladder = Ladder(folder, data, shutil.copytree(tiny_models["bert"], folder / "bert"))
    said: list[str] = []
    rung.climb(ladder.settings(), echo=said.append)
    (folder / "said").write_text("\n".join(said), encoding="utf-8")
    return ladder


@pytest.fixture
def again(seeded: Ladder, tmp_path: Path) -> Ladder:
    """A copy of it to go on with."""
    shutil.copytree(seeded.folder / "out", tmp_path / "out")
    return Ladder(tmp_path, seeded.data, seeded.model)


def test_each_seed_has_a_run_of_its_own_on_the_same_split(seeded: Ladder) -> None:
    folders = {str(path.parent.relative_to(seeded.runs)) for path in seeded.runs.rglob("run.json")}
    assert folders == {"majority", *(f"{name}/seed-{seed}" for name in LEARNING for seed in (7, 8))}
    for name in LEARNING:
        runs = [json.loads((seeded.runs / name / f"seed-{seed}" / "run.json").read_text()) for seed in (7, 8)]
        assert [run["seed"] for run in runs] == [7, 8]
        assert runs[0]["data"] == runs[1]["data"]
        assert runs[0]["files"]["head.safetensors"] != runs[1]["files"]["head.safetensors"]


def test_each_rung_gets_its_first_seed_before_any_gets_its_second(seeded: Ladder) -> None:
    said = (seeded.folder / "said").read_text(encoding="utf-8").splitlines()
    assert "Seeds 7, 8: each rung that depends on chance is run with each of them." in said
    assert [line for line in said if line.startswith("[")] == [
        *("[1/6] majority", "[2/6] zero_shot-bert", "[3/6] head_only-bert, seed 7", "[4/6] lora-bert, seed 7"),
        *("[5/6] head_only-bert, seed 8", "[6/6] lora-bert, seed 8"),
    ]


def test_the_report_holds_the_mean_and_each_seed(seeded: Ladder) -> None:
    rungs = seeded.rungs()
    assert rungs["zero_shot-bert"]["status"] == "refused"
    assert "seeds" not in rungs["majority"]
    for name in LEARNING:
        one = rungs[name]
        runs = [seeded.folder / "out" / seed["path"] for seed in one["seeds"]]
        files = [json.loads((run / "metrics.json").read_text()) for run in runs]
        scores = [file["test"]["macro_f1"]["value"] for file in files]
        assert [seed["macro_f1"] for seed in one["seeds"]] == scores
        assert one["metrics"]["macro_f1"]["value"] == pytest.approx(sum(scores) / 2)
        gaps = [file["train"]["macro_f1"] - file["validation"]["macro_f1"] for file in files]
        assert one["metrics"]["overfitting"] == pytest.approx(sum(gaps) / 2)
        assert one["cost"]["optimizer_bytes"] >= 8 * one["cost"]["trainable_parameters"] > 0
        assert one["difference"] is not None


def test_the_same_command_again_runs_nothing(again: Ladder, capsys) -> None:
    before = contents(again.runs)
    assert main(["climb", again.settings()]) == 0
    assert capsys.readouterr().err.count("  finished before with these settings and rows: reused\n") == 5
    assert contents(again.runs) == before


def test_one_seed_more_runs_that_seed_alone(again: Ladder, capsys) -> None:
    before = contents(again.runs)
    assert main(["climb", again.settings(seeds=[9, 7, 8])]) == 0
    capsys.readouterr()
    after = contents(again.runs)
    assert {name: after[name] for name in before} == before
    assert {name.rsplit("/", 1)[0] for name in after.keys() - before} == {f"{name}/seed-9" for name in LEARNING}
    assert [one["seed"] for one in again.rungs()["lora-bert"]["seeds"]] == [9, 7, 8]


def test_seeds_that_the_budget_cut_off_leave_the_others_judged(again: Ladder, capsys) -> None:
    assert main(["climb", again.settings(seeds=[7, 8, 9]), "--budget", "0.001s"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "lora-bert: 2 of 3 seeds finished; seed 9: not started: the budget of 0.001s was used up" in shown
    assert again.rungs()["lora-bert"]["status"] == "finished"
    assert again.rungs()["lora-bert"]["difference"] is not None


def test_a_folder_never_holds_both_a_run_and_seeds(again: Ladder, capsys) -> None:
    def cut(**changed: Any) -> str:
        assert main(["climb", again.settings(**changed), "--budget", "0.001s"]) == 0
        return capsys.readouterr().err

    aside = again.runs / ".replaced" / "lora-bert-1"
    assert f"lora-bert: it was run with `seeds` before: kept in {aside}\n" in cut(seeds=None)
    assert sorted(path.name for path in aside.iterdir()) == ["seed-7", "seed-8"]
    shutil.copytree(aside / "seed-7", again.runs / "lora-bert")
    assert f"lora-bert: it was run without `seeds` before: kept in {again.runs}/.replaced/lora-bert-2\n" in cut()
    assert not (again.runs / "lora-bert" / "run.json").exists()


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([7, 7], r"seeds=\[7, 7\]: each seed may stand there once"),
        ([], r"seeds=\[\]: must be a list of numbers, such as \[7, 8, 9\]"),
        (3, r"seeds=3: must be a list of numbers, such as \[7, 8, 9\]"),
        ([-1], r"seeds\[0\]=-1: .*greater than or equal to 0"),
    ],
)
def test_mistakes_in_seeds_are_named(seeds: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(LadderConfig, {"data": {"train": "a.csv"}, "seeds": seeds})
