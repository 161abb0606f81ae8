"""What is told of validation rows while a run trains, and by which of it weights are chosen."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rung.config.validation import build
from rung.errors import ConfigError
from rung.run import RunConfig, execute, validate
from rung.run.selection import selection

Configure = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def echoes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 rows whose completion is one of four words, said by the prompt."""
    chance = random.Random(0)
    path = tmp_path_factory.mktemp("data") / "echoes.jsonl"
    words = ["joy", "plot", "film", "prize"]
    rest = ["warm", "dull", "dinner", "years", "jokes", "call"]
    rows = [(chance.choice(words), " ".join(chance.choices(rest, k=5))) for _ in range(100)]
    lines = [json.dumps({"prompt": f"{word} {more}", "completion": word}) for word, more in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def writing(echoes: Path, tiny_models: dict[str, Path], tmp_path: Path) -> Configure:
    def made(out: str = "out", **training: Any) -> RunConfig:
        return RunConfig.model_validate(
            {
                "data": {"train": str(echoes), "test_size": 0.1, "validation_size": 0.2, "near_duplicates": False},
                "task": {"type": "generation", "max_new_tokens": 6, "metrics": ["exact_match", "loss"]},
                "method": {"type": "lora", "r": 4},
                "training": {"num_train_epochs": 4, "per_device_train_batch_size": 8, "learning_rate": 1e-2} | training,
                "model": str(tiny_models["llama"]),
                "num_threads": 1,
                "max_length": 60,
                "output_dir": str(tmp_path / out),
            }
        )

    return made


def scorings(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line["validation"] for line in lines if "validation" in line]


def metrics_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def test_answers_to_some_rows_are_measured_while_a_run_trains(writing: Configure) -> None:
    plain = execute(writing("plain"), {})
    told = execute(writing("told", predict_with_generate=True, max_predict_rows=5), {})
    found = scorings(told)
    assert [list(one) for one in scorings(plain)] == [["loss", "perplexity"]] * 4
    assert [one["rows_written"] for one in found] == [5] * 4
    assert set(found[0]) == {
        "loss", "perplexity", "token_f1", "exact_match", "share_stopped", "share_cut", "mean_tokens", "rows_written",
    }  # fmt: skip
    assert all(one["exact_match"] in {0, 0.2, 0.4, 0.6, 0.8, 1} for one in found)
    # Writing changes nothing in training, nor what runs are compared by: answers to all validation rows.
    assert (told / "adapter_model.safetensors").read_bytes() == (plain / "adapter_model.safetensors").read_bytes()
    assert metrics_of(told) == metrics_of(plain)
    assert json.loads((told / "cost.json").read_text(encoding="utf-8"))["eval_seconds"] > 0


def test_weights_are_chosen_by_a_metric_of_answers(writing: Configure) -> None:
    folder = execute(writing(metric_for_best_model="eval_exact_match", max_predict_rows=99), {})
    found = [one["exact_match"] for one in scorings(folder)]
    assert max(found) > 0
    # All validation rows were written to: they are not written to again.
    assert metrics_of(folder)["validation"]["exact_match"] == max(found)
    assert "rows_written" not in metrics_of(folder)["validation"]


def test_a_stopped_run_that_writes_goes_on_to_the_same_bytes(writing: Configure, stop_at: Callable[..., Any]) -> None:
    how = {"metric_for_best_model": "exact_match", "max_predict_rows": 6, "save_steps": 5}
    whole = execute(writing("whole", **how), {})
    with pytest.raises(KeyboardInterrupt):
        execute(writing("cut", **how), {}, watch=stop_at(13))
    cut = execute(writing("cut", **how), {})
    for name in ("adapter_model.safetensors", "predictions.jsonl", "golden.jsonl", "metrics.json"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name
    assert scorings(cut) == scorings(whole)


def test_a_classifier_may_be_chosen_by_accuracy(configure: Configure) -> None:
    folder = execute(configure("bert", {"type": "lora", "r": 4}, metric_for_best_model="accuracy"), {})
    assert metrics_of(folder)["validation"]["accuracy"] == max(one["accuracy"] for one in scorings(folder))


@pytest.mark.parametrize(
    ("training", "metric", "written"),
    [
        ({}, "loss", 0),
        ({"predict_with_generate": True}, "loss", 32),
        ({"metric_for_best_model": "share_cut", "max_predict_samples": 4}, "share_cut", 4),
        ({"metric_for_best_model": "eval_loss"}, "loss", 0),
    ],
)
def test_nothing_is_written_unless_it_is_needed(
    training: dict[str, Any], metric: str, written: int, echoes: Path
) -> None:
    given = {"data": {"train": str(echoes)}, "method": "lora", "task": {"type": "generation"}, "training": training}
    found = selection(build(RunConfig, given))
    assert (found.metric.name, found.written) == (metric, written)


@pytest.mark.parametrize(
    ("training", "what"),
    [
        ({"metric_for_best_model": "exact_mach"}, "unknown metric 'exact_mach'. Did you mean 'exact_match'?"),
        ({"metric_for_best_model": "bleu"}, "Add bleu to task.metrics."),
        ({"metric_for_best_model": "exact_match", "predict_with_generate": False}, "predict_with_generate=false"),
    ],
)
def test_a_metric_that_is_not_taken_is_refused(writing: Configure, training: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(writing(**training))
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("training", "what"),
    [
        ({"metric_for_best_model": "loss"}, "unknown metric 'loss'. Allowed: macro_f1, accuracy, mcc."),
        ({"predict_with_generate": True}, "task=classification names labels, and writes no answers"),
    ],
)
def test_labels_are_not_written(configure: Configure, training: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(configure("bert", {"type": "lora", "r": 4}, **training))
    assert what in str(caught.value)


@pytest.mark.parametrize("training", [{"metric_for_best_model": "loss"}, {"predict_with_generate": True}])
def test_a_choice_needs_scorings(training: dict[str, Any], echoes: Path) -> None:
    given = {"data": {"train": str(echoes)}, "method": "lora", "task": {"type": "generation"}}
    with pytest.raises(ConfigError, match="needs eval_strategy=epoch or steps"):
        build(RunConfig, {**given, "training": {"eval_strategy": "no", **training}})
