from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rung.cli.app import main

SPAM = Path(__file__).parents[2] / "examples" / "data" / "sms_spam.tsv"
SMALL = ["data.near_duplicates=false", "data.max_train_rows=300", "data.max_test_rows=200"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs of controls on one file: `majority` and `tfidf`."""
    folder = tmp_path_factory.mktemp("runs")
    for method in ("majority", "tfidf"):
        assert main(["train", str(SPAM), f"method={method}", f"output_dir={folder / method}", *SMALL]) == 0
    return folder


def test_a_run_is_written_and_named(runs: Path, capsys):
    again = ["train", str(SPAM), "method=tfidf", f"output_dir={runs / 'tfidf'}", *SMALL]
    assert main(again) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{runs / 'tfidf'}\n"
    assert "finished: reused. --fresh runs it anew." in shown.err
    assert json.loads((runs / "tfidf" / "run.json").read_text())["config"] == {
        "data": {"train": str(SPAM), "near_duplicates": False, "max_train_rows": 300, "max_test_rows": 200},
        "method": "tfidf",
        "output_dir": str(runs / "tfidf"),
    }


def test_runs_from_anywhere_are_compared(runs: Path, capsys):
    assert main(["report", str(runs / "tfidf"), str(runs / "majority"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [rung["name"] for rung in report["rungs"]] == ["majority", "tfidf"]
    assert report["recommended"]["name"] == "tfidf"
    assert not (runs / "report.html").exists()


def test_runs_of_one_name_are_told_apart(runs: Path, tmp_path: Path, capsys):
    shutil.copytree(runs / "tfidf", tmp_path / "copy")
    folders = [str(runs / "tfidf"), str(runs / "majority"), str(tmp_path / "copy"), str(runs / "tfidf")]
    assert main(["report", *folders, "--json"]) == 0
    names = [rung["name"] for rung in json.loads(capsys.readouterr().out)["rungs"]]
    assert names == ["majority", f"tfidf ({runs / 'tfidf'})", f"tfidf ({tmp_path / 'copy'})"]


def test_the_table_is_printed_as_markdown(runs: Path, capsys):
    assert main(["report", str(runs / "tfidf"), str(runs / "majority"), "--markdown"]) == 0
    table = capsys.readouterr().out
    assert table.startswith("| rung |")
    assert "Lowest sufficient rung: tfidf" in table


def test_other_settings_do_not_overwrite_a_finished_run(runs: Path, capsys):
    assert main(["train", str(SPAM), "method=majority", f"output_dir={runs / 'tfidf'}", *SMALL]) == 2
    assert "holds a finished run of other settings or rows" in capsys.readouterr().err
