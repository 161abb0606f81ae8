from __future__ import annotations

from pathlib import Path

import pytest

from rung.cli.settings import read_settings
from rung.errors import ConfigError


def test_a_settings_file_and_overrides(tmp_path: Path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text("data: {train: a.csv}\nmethod: lora\n")
    given = read_settings(str(path), ["method.r=4"], defaults=["budget=15m"])
    assert given == {"data": {"train": "a.csv"}, "method": {"type": "lora", "r": 4}}
    assert given.place(("data", "train")) == f"{path}:1"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("data", ["sms.csv", "folder", "a.parquet", "owner/name#test"])
def test_data_alone_gets_the_defaults_and_says_so(data, capsys):
    given = read_settings(data, ["output_dir=o"], defaults=["budget=15m"])
    assert given == {"data": {"train": data}, "budget": "15m", "output_dir": "o"}
    assert capsys.readouterr().err == f"{data} is data: the defaults apply, with budget=15m.\n"


def test_overrides_win_over_defaults():
    assert read_settings("a.csv", ["budget=1h"], defaults=["budget=15m"])["budget"] == "1h"


def test_settings_alone():
    assert read_settings("data.train=a.csv", ["seed=1"]) == {"data": {"train": "a.csv"}, "seed": 1}


def test_a_file_named_like_a_setting_is_a_file(tmp_path: Path):
    path = tmp_path / "a=b.csv"
    path.write_text("x")
    assert read_settings(str(path), []) == {"data": {"train": str(path)}}


def test_a_second_word_without_a_value_is_refused():
    with pytest.raises(ConfigError, match=r"'b\.csv' is not an override"):
        read_settings("a.csv", ["b.csv"])
