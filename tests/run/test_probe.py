"""A plan made by a probe, and the run that takes it up."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from rung.engine.sources import DatasetSource
from rung.errors import RungError
from rung.run import RunConfig, execute
from rung.run.probe import plan_in_process, plan_run
from rung.run.process import FORKS, Nursery
from rung.run.timing import representative, spread
from rung.types import Row, Tokens

Configure = Callable[..., RunConfig]
LORA = {"type": "lora", "r": 4}


def test_a_plan_is_taken_up_by_its_run_and_changes_nothing_in_it(configure: Configure) -> None:
    config = configure("llama", LORA)
    planned = plan_run(config, timed=True)
    seconds = planned["seconds"]
    assert seconds["total"] == pytest.approx(sum(seconds.values()) - seconds["total"] - seconds["step"])
    assert seconds["training"] == pytest.approx(seconds["step"] * planned["forecast"]["steps"])
    assert planned["measured_peak_bytes"] > 10**8
    assert [path.name for path in Path(config.output_dir).iterdir()] == ["plan.json"]
    assert not list(Path(config.output_dir).parent.glob(".rung-probe-*"))
    planned_run = execute(config, {})
    run = json.loads((planned_run / "run.json").read_text())
    assert run["forecast"]["seconds"] == seconds
    assert run["forecast"]["steps"] == run["outcome"]["steps"] == planned["forecast"]["steps"]
    assert "plan.json" not in run["files"]
    unplanned = execute(configure("llama", LORA, "other"), {})
    for name in ("adapter_model.safetensors", "predictions.jsonl"):
        assert (planned_run / name).read_bytes() == (unplanned / name).read_bytes()


@pytest.mark.parametrize(
    ("model", "method"),
    [("gpt2", {"type": "zero_shot"}), ("bert", {"type": "head_only"})],
    ids=["zero_shot", "head_only"],
)
def test_every_kind_of_run_has_its_seconds(configure: Configure, model: str, method: dict[str, str]) -> None:
    planned = plan_run(configure(model, method), timed=True)
    assert (planned["forecast"] is None) == (method["type"] == "zero_shot")
    assert {"search", "test"} <= set(planned["seconds"]) or {"features", "training"} <= set(planned["seconds"])
    assert all(value >= 0 for value in planned["seconds"].values())


def test_without_a_probe_no_step_is_made(configure: Configure) -> None:
    planned = plan_in_process(configure("bert", {"type": "full"}), timed=False)
    assert planned["seconds"] is planned["measured_peak_bytes"] is None
    assert planned["memory_peak_bytes"] == planned["forecast"]["memory"]["peak"]
    assert planned["rows"]["train"] == planned["forecast"]["rows"]


def test_a_mistake_comes_back_in_words(configure: Configure, tmp_path: Path) -> None:
    config = configure("bert", {"type": "full"})
    gone = config.model_copy(update={"data": config.data.model_copy(update={"train": str(tmp_path / "absent.csv")})})
    with pytest.raises(RungError, match="no such file") as caught:
        plan_in_process(gone, timed=False)
    assert caught.value.exit_code == 2


@pytest.mark.skipif(not FORKS, reason="this system starts a process anew for each plan")
def test_a_nursery_that_was_killed_is_said_each_time_it_is_asked(configure: Configure, tmp_path: Path) -> None:
    nursery = Nursery(tmp_path / "log")
    try:
        nursery.process.kill()
        for _ in range(2):
            with pytest.raises(RungError, match=f"ended by signal {signal.SIGKILL:d}"):
                plan_in_process(configure("bert", {"type": "full"}), False, nursery)
    finally:
        nursery.close()


def test_the_heaviest_step_is_among_those_that_are_made() -> None:
    rows = [Row(str(at), (Tokens(tuple(range(5 + at))),)) for at in range(40)]
    source = DatasetSource(rows, 4, 1, 0, False)
    tokens = [sum(len(row.sequences[0]) for row in source.step(at)[0].rows) for at in range(10)]
    made = representative(source)
    assert tokens[made[-1]] == max(tokens)
    assert tokens[made[0]] == sorted(tokens)[round(0.5 * 9)]
    assert len(made) == 6
    assert spread(rows, 4) == [rows[0], rows[10], rows[20], rows[30]]  # pyright: ignore[reportArgumentType]
    assert len(spread(rows, 99)) == 40  # pyright: ignore[reportArgumentType]


def test_a_search_is_foretold_by_its_budget(configure: Configure) -> None:
    search = {"type": "prompt_search", "first_rows": 8, "max_validation_rows": 24, "budget": {"evaluations": 10_000}}
    planned = plan_run(configure("llama", search), timed=True)
    rows = planned["rows"]["validation"]
    both = planned["seconds"]["validation"] / rows * 20_000
    assert both <= planned["seconds"]["search"] < planned["seconds"]["total"]
    assert any("foretold by its budget" in note for note in planned["notes"])
