from __future__ import annotations

import json

from rung.cli.app import main
from rung.cli.doctor import machine, warnings


def test_the_doctor_names_versions_and_devices(capsys):
    assert main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["torch"].startswith("2.")
    assert facts["devices"][0] == "cpu"
    assert facts["threads"] >= 1
    assert facts["memory bytes"] > facts["free memory bytes"] > 0
    assert facts["precision=auto"] in {"bfloat16", "float32"}


def test_the_doctor_prints_a_table(capsys):
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "python" in shown
    assert " bytes" not in shown


def test_the_cache_folder_is_the_one_in_use(monkeypatch, tmp_path):
    monkeypatch.setenv("RUNG_CACHE", str(tmp_path / "not" / "made"))
    facts = machine()
    assert facts["cache"] == str(tmp_path / "not" / "made")
    assert facts["cache is writable"] is True
    assert facts["free disk bytes"] > 0


def test_what_stands_in_the_way_is_said_with_the_remedy():
    good = {**machine(), "rung": "0.1.0", "free disk bytes": 1e12, "free memory bytes": 1e12, "cache is writable": True}
    assert warnings(good) == []
    assert warnings({**good, "peft": None}) == ["not installed as packages: peft. Install Rung with pip."]
    assert "RUNG_CACHE" in warnings({**good, "cache is writable": False})[0]
    assert "2 GB of disk" in warnings({**good, "free disk bytes": 1e9})[0]
    assert "2 GB of memory" in warnings({**good, "free memory bytes": 1e9})[0]


def test_models_lists_the_catalogue(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("smollm2-135m-instruct", "minilm-l6", "bert-tiny", "Apache-2.0"))


def test_an_unknown_model_has_no_folder(capsys):
    assert main(["models", "path", "minilm-l7"]) == 2
    assert "Did you mean" in capsys.readouterr().err


def test_the_run_schema_describes_every_setting(capsys):
    assert main(["config-schema", "run"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["required"] == ["data", "method"]
    assert schema["additionalProperties"] is False
    rate = schema["$defs"]["TrainingConfig"]["properties"]["learning_rate"]
    assert rate["description"].startswith("Peak learning rate")
