"""Whole runs on a mixture of the example data: trained, shown, planned, gone on with, climbed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rung.artifact import load
from rung.cli.app import main
from rung.config.validation import build
from rung.errors import ArtifactError
from rung.ladder.plan import LadderConfig
from rung.ladder.slices import check_slices
from rung.run import RunConfig, execute
from rung.run.identity import is_finished

ROOT = Path(__file__).parents[2]
DATA = ROOT / "examples" / "data"


@pytest.fixture
def settings(tiny_models: dict[str, Path], tmp_path: Path) -> dict[str, Any]:
    """A run of seconds on three of the example data sets, one of whose clusters is held out."""
    spam = {"name": "spam", "train": str(DATA / "sms_spam.tsv"), "type": "detection", "values": {"kind": "spam"}}
    intents = {"name": "banking", "train": str(DATA / "banking77_train.csv"), "type": "qa_closed_book"}
    maths = {"name": "maths", "train": str(DATA / "gsm8k_train.jsonl"), "test": str(DATA / "gsm8k_test.jsonl")}
    return {
        "data": {
            "mixture": {
                "sources": [
                    {**spam, "choices": {"spam": "yes", "ham": "no"}, "max_rows": 80},
                    {**intents, "columns": {"question": "text", "answer": "category"}, "max_rows": 60},
                    {**maths, "type": "maths"},
                ],
                "cap": 40,
                "held_out_templates": 2,
                "held_out_clusters": ["maths"],
                "test_rows": 8,
            }
        },
        "task": {"type": "generation", "max_new_tokens": 6},
        "model": str(tiny_models["llama"]),
        "method": {"type": "lora", "r": 4},
        "training": {"num_train_epochs": 1, "per_device_train_batch_size": 16},
        "num_threads": 1,
        "max_length": 160,
        "output_dir": str(tmp_path / "out"),
    }


def test_a_run_on_a_mixture(settings: dict[str, Any], tmp_path: Path) -> None:
    said: list[str] = []
    config = build(RunConfig, settings)
    folder = execute(config, settings, say=said.append)
    assert said[0].startswith("Mixture of 3 sources, each with at most 40 train rows")
    assert any(one.startswith("maths (maths, cluster maths): held out with its cluster: 8 test rows") for one in said)
    data = json.loads((folder / "run.json").read_text(encoding="utf-8"))["data"]
    assert data["rows"]["train"] == 80
    for counts in data["ledger"].values():
        assert counts["rows"] == sum(count for bucket, count in counts.items() if bucket != "rows")
    assert {"source", "template", "cluster", "type", "held_out"} < set(data["all_columns"])
    assert load(folder).verify(all=True) == []
    assert is_finished(config)

    # the same rows elsewhere are the same run; other templates for a row are another one
    elsewhere = tmp_path / "moved.jsonl"
    elsewhere.write_bytes((DATA / "gsm8k_test.jsonl").read_bytes())
    settings["data"]["mixture"]["sources"][2]["test"] = str(elsewhere)
    assert is_finished(build(RunConfig, settings))
    settings["data"]["mixture"]["seed"] = 3
    with pytest.raises(ArtifactError, match="other settings or rows"):
        is_finished(build(RunConfig, settings))


def test_a_mixture_is_shown_and_planned(settings: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert main(["data", "show", str(path), "-n", "2"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("sms_spam.tsv:") == 2
    assert "⟦no" in shown or "⟦yes" in shown
    assert main(["plan", str(path), "--no-probe", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["train"] == 80


def test_a_ladder_on_a_mixture(settings: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    model, method = settings.pop("model"), settings.pop("method")
    ladder = {**settings, "models": [model], "methods": ["zero_shot", method], "learning_curve": False}
    path = tmp_path / "ladder.yaml"
    path.write_text(yaml.safe_dump(ladder), encoding="utf-8")
    assert main(["climb", str(path)]) == 0, capsys.readouterr().err
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert {rung["status"] for rung in report["rungs"]} == {"finished"}
    assert report["split"]["sentences"][0].startswith("Mixture of 3 sources")
    files = {Path(name).name: counts for name, counts in report["split"]["ledger"].items()}
    assert files["gsm8k_train.jsonl (maths)"] == {"rows": 512, "held_out": 512}
    rows = [json.loads(line) for line in (tmp_path / "out/data/test.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 24
    assert {row["held_out"] for row in rows} == {"no", "template", "cluster"}
    assert all(row["_source"].split(":")[0].endswith((".tsv", ".csv", ".jsonl")) for row in rows)


def test_the_example_is_a_ladder_and_its_files_fit() -> None:
    given = yaml.safe_load((ROOT / "examples" / "instruct.yaml").read_text(encoding="utf-8"))
    for source in given["data"]["mixture"]["sources"]:
        for part in ("train", "test"):
            if part in source:
                source[part] = str(ROOT / source[part])
    config = build(LadderConfig, given)
    data = config.task.load(config.data)
    check_slices(config.slices, tuple(data.splits.test[0].fields))
    learned = {one.fields["source"] for one in data.splits.train}
    assert learned == {"spam", "banking", "restaurants", "maths", "tasks"}
    assert {one.fields["source"] for one in data.splits.test if one.fields["held_out"] == "cluster"} == {"inference"}
