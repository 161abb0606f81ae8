"""A run that was stopped goes on to the same bytes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from rung.engine.finite import NotFiniteError
from rung.errors import CheckpointError, ConfigError
from rung.run import RunConfig, execute

Configure = Callable[..., RunConfig]
StopAt = Callable[..., Any]

SAME = ("predictions.jsonl", "golden.jsonl", "prompt.json")


class Stopped(Exception):
    """Raised by a hook: the run ends here."""


def steps(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def assert_same_run(first: Path, second: Path) -> None:
    weights = [path.name for path in first.glob("*.safetensors")]
    for file in (*weights, *SAME):
        assert (first / file).read_bytes() == (second / file).read_bytes(), file
    assert steps(first) == steps(second)
    assert [row["step"] for row in steps(second)] == list(range(1, len(steps(second)) + 1))
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in (first, second)]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize(
    ("model", "method"),
    [("gpt2", "full"), ("bert", "full"), ("llama", "lora"), ("bert", "head_only")],
)
def test_a_stopped_run_goes_on_to_the_same_bytes(
    model: str, method: str, configure: Configure, stop_at: StopAt
) -> None:
    settings = {"type": method} | ({"r": 4, "lora_dropout": 0.1} if method == "lora" else {})
    whole = execute(configure(model, settings, "whole"), {})
    for step in (1, 4, 7, 12, len(steps(whole))):
        with pytest.raises(Stopped):
            execute(configure(model, settings, "cut"), {}, watch=stop_at(step, Stopped))
    assert_same_run(whole, execute(configure(model, settings, "cut"), {}))


def test_dropout_is_active_in_training(configure: Configure) -> None:
    on = execute(configure("gpt2", {"type": "full"}, "on"), {})
    off = execute(configure("gpt2", {"type": "full"}, "off", model_dropout=False), {})
    one, other = load_file(on / "model.safetensors"), load_file(off / "model.safetensors")
    assert any((one[name] != other[name]).any() for name in one)


def test_early_stopping_ends_a_resumed_run_where_it_ends_the_whole_one(configure: Configure, stop_at: StopAt) -> None:
    how = {"num_train_epochs": 30, "eval_strategy": "steps", "eval_steps": 2, "early_stopping_patience": 2}
    whole = execute(configure("bert", {"type": "lora", "r": 4}, "whole", **how), {})
    assert len(steps(whole)) < 100
    for step in (3, 5):
        with pytest.raises(Stopped):
            execute(configure("bert", {"type": "lora", "r": 4}, "cut", **how), {}, watch=stop_at(step, Stopped))
    assert_same_run(whole, execute(configure("bert", {"type": "lora", "r": 4}, "cut", **how), {}))


def test_changed_settings_are_refused_with_the_difference(configure: Configure, stop_at: StopAt) -> None:
    with pytest.raises(Stopped):
        execute(configure("bert", {"type": "lora", "r": 4}), {}, watch=stop_at(5, Stopped))
    with pytest.raises(CheckpointError) as caught:
        execute(configure("bert", {"type": "lora", "r": 4}, learning_rate=0.01, seed=7), {})
    assert caught.value.what.endswith(": training.learning_rate: null -> 0.01; training.seed: 42 -> 7.")
    assert "--accept training.learning_rate,training.seed; or start anew with --fresh" in caught.value.todo
    folder = execute(configure("bert", {"type": "lora", "r": 4}, seed=7), {}, fresh=True)
    assert json.loads((folder / "run.json").read_text())["seed"] == 7


def test_accepted_changes_are_gone_on_with_and_recorded(configure: Configure, stop_at: StopAt) -> None:
    lora = {"type": "lora", "r": 4}
    with pytest.raises(Stopped):
        execute(configure("bert", lora, num_train_epochs=2), {}, watch=stop_at(7, Stopped))
    longer = configure("bert", lora, num_train_epochs=3)
    with pytest.raises(ConfigError) as caught:
        execute(longer, {}, accept=["training.epochs"])
    assert caught.value.what.startswith("--accept training.epochs: unknown setting 'training.epochs'. Did you mean ")
    with pytest.raises(Stopped):
        execute(longer, {}, accept=["training.num_train_epochs"], watch=stop_at(12, Stopped))
    # Once a checkpoint was saved under the new settings, the same command goes on with the flag or without.
    folder = execute(longer, {})
    (change,) = json.loads((folder / "run.json").read_text())["accepted"]
    assert change["step"] == 6
    assert change["changes"] == {"training.num_train_epochs": [2.0, 3.0]}
    assert [row["step"] for row in steps(folder)] == list(range(1, len(steps(folder)) + 1))
    assert steps(folder)[-1]["epoch"] == 3.0
    assert json.loads((execute(configure("bert", lora, "other"), {}) / "run.json").read_text())["accepted"] == []


@pytest.mark.parametrize("harm", ["lost", "cut", "changed"])
def test_a_damaged_history_is_said_and_harms_nothing_else(harm: str, configure: Configure, stop_at: StopAt) -> None:
    lora = {"type": "lora", "r": 4}
    whole = execute(configure("bert", lora, "whole"), {})
    config = configure("bert", lora, "cut")
    with pytest.raises(Stopped):
        execute(config, {}, watch=stop_at(12, Stopped))
    log = Path(config.output_dir) / "history.jsonl"
    if harm == "lost":
        log.unlink()
    else:
        lines = log.read_text().splitlines(keepends=True)
        log.write_text("".join(lines[1:]) if harm == "cut" else "".join(lines).replace("loss", "lust"))
    said: list[str] = []
    folder = execute(config, {}, say=said.append)
    for file in ("adapter_model.safetensors", "head.safetensors", "metrics.json", *SAME):
        assert (folder / file).read_bytes() == (whole / file).read_bytes(), file
    resumed = steps(folder)[0]["step"]
    assert resumed > 1
    assert steps(folder) == steps(whole)[resumed - 1 :]
    assert any(f"it is not the log of the first {resumed - 1} steps" in sentence for sentence in said)


def test_a_history_lost_after_the_last_step_costs_the_log_alone(configure: Configure, stop_at: StopAt) -> None:
    lora = {"type": "lora", "r": 4}
    whole = execute(configure("bert", lora, "whole"), {})
    config = configure("bert", lora, "cut")
    with pytest.raises(Stopped):
        execute(config, {}, watch=stop_at(len(steps(whole)), Stopped))
    (Path(config.output_dir) / "history.jsonl").unlink()
    folder = execute(config, {})
    for file in ("adapter_model.safetensors", "head.safetensors", "metrics.json", *SAME):
        assert (folder / file).read_bytes() == (whole / file).read_bytes(), file
    assert steps(folder) == []


def test_the_rows_behind_a_loss_that_is_not_finite_are_named_with_their_place(
    configure: Configure, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_models["bert"], tmp_path / "bert")
    weights = load_file(model / "model.safetensors")
    # What no word piece covers reads as one token, [UNK], number 1.
    weights["embeddings.word_embeddings.weight"][1] = float("nan")
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    words = ["the film was a joy", "a dull plot", "poor jokes", "well played", "the worst evening", "warm start"]
    lines = [f"{first}: {second},{'good' if at % 2 else 'bad'}" for at, first in enumerate(words) for second in words]
    lines[20] = "a dull Ω plot,bad"
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    plain = configure("bert", {"type": "lora", "r": 4})
    data = plain.data.model_copy(update={"train": str(tmp_path / "rows.csv"), "test_size": 0.1, "validation_size": 0.1})
    config = plain.model_copy(update={"model": str(model), "data": data})
    with pytest.raises(NotFiniteError) as caught:
        execute(config, {})
    assert len(caught.value.rows) == 1
    assert caught.value.what.endswith(f"rows: {caught.value.rows[0]} ({tmp_path / 'rows.csv'}:22)")
    assert not (Path(config.output_dir) / "run.json").exists()


@pytest.mark.crash
def test_a_run_killed_at_random_moments_ends_in_the_same_bytes(configure: Configure, tmp_path: Path) -> None:
    how = {"num_train_epochs": 12, "save_steps": 2, "save_total_limit": 1}
    whole = execute(configure("gpt2", {"type": "full"}, "whole", **how), {})
    config = configure("gpt2", {"type": "full"}, "killed", **how)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    script = Path(__file__).with_name("killed_run.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "config.json"), "0", "5"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert_same_run(whole, Path(config.output_dir))
