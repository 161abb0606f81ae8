"""`--find-lr`: what is found, recorded and used, and what a stopped search loses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rung.config.validation import build
from rung.engine.loop import Hook, Progress
from rung.errors import ArtifactError, ConfigError, TrainingError
from rung.run import RunConfig, execute, find_learning_rate
from rung.run.find_lr import FOUND
from rung.run.prepare import execution, prepare_data, settle_machine
from rung.run.rates import SearchSettings
from rung.run.trials import Trials
from rung.run.validate import validate

Configure = Callable[..., RunConfig]

LORA = {"type": "lora", "r": 4}
SHORT = SearchSettings(trials=6, least=4, share=0.1, validation_rows=12)


class Stopped(Exception):
    """Raised by a hook: the search ends here."""


class Watch:
    """Counts the trials, and stops one in its middle."""

    def __init__(self, stop_in: int | None = None) -> None:
        self.trials = 0
        self.stop_in = stop_in

    def __call__(self, total: int) -> Hook:
        self.trials += 1
        return self

    def after_step(self, progress: Progress) -> None:
        if self.trials == self.stop_in and progress.step == 3:
            raise Stopped


def found(folder: str | Path) -> dict[str, Any]:
    return json.loads((Path(folder) / FOUND).read_text(encoding="utf-8"))


def trials_of(folder: str | Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in one.items() if name != "seconds"} for one in found(folder)["trials"]]


def run_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def test_the_rate_that_is_found_is_recorded_and_used(configure: Configure) -> None:
    said: list[str] = []
    open_rate = configure("bert", LORA)
    config = find_learning_rate(open_rate, say=said.append, search=SHORT)
    rate = config.training.learning_rate
    assert rate is not None
    assert config.model_dump() == configure("bert", LORA, learning_rate=rate).model_dump()
    trials = found(config.output_dir)["trials"]
    assert len(trials) == 6
    assert rate == min((one["loss"], one["learning_rate"]) for one in trials if one["loss"] is not None)[1]
    assert [line.split(":")[0] for line in said[1:7]] == [f"  {number} of 6" for number in range(1, 7)]
    assert said[7].startswith(f"learning_rate={rate:.3g} is taken.")
    folder = execute(config, {"as": "given"})
    given = execute(configure("bert", LORA, "given", learning_rate=rate), {})
    for file in ("adapter_model.safetensors", "head.safetensors", "predictions.jsonl", "golden.jsonl", "metrics.json"):
        assert (folder / file).read_bytes() == (given / file).read_bytes(), file
    run = run_of(folder)
    assert run["resolved"]["training"]["learning_rate"] == rate
    assert run["find_lr"]["trials"] == trials
    assert run_of(given)["find_lr"] is None
    assert run["identity"] == run_of(given)["identity"]
    costs = [json.loads((one / "cost.json").read_text())["search_seconds"] for one in (folder, given)]
    assert costs == [sum(one["seconds"] for one in trials), 0.0]


def test_the_same_settings_find_the_same_rate_and_another_seed_searches_for_itself(configure: Configure) -> None:
    configs = [find_learning_rate(configure("llama", LORA, out), search=SHORT) for out in ("one", "two")]
    assert configs[0].training.learning_rate == configs[1].training.learning_rate
    assert trials_of(configs[0].output_dir) == trials_of(configs[1].output_dir)
    other = find_learning_rate(configure("llama", LORA, "three", seed=3), search=SHORT)
    assert trials_of(other.output_dir) != trials_of(configs[0].output_dir)


def test_a_stopped_search_goes_on_and_repeats_nothing(configure: Configure) -> None:
    whole = find_learning_rate(configure("bert", LORA, "whole"), search=SHORT)
    config = configure("bert", LORA, "cut")
    for stop_in, ended in ((3, 2), (1, 2), (4, 5)):
        with pytest.raises(Stopped):
            find_learning_rate(config, watch=Watch(stop_in), search=SHORT)
        assert len(found(config.output_dir)["trials"]) == ended
    last, again = Watch(), Watch()
    assert find_learning_rate(config, watch=last, search=SHORT).training == whole.training
    assert last.trials == 1
    assert trials_of(config.output_dir) == trials_of(whole.output_dir)
    assert find_learning_rate(config, watch=again, search=SHORT).training == whole.training
    assert again.trials == 0


@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("llama", "lora"),
        ("gpt2", "full"),
        ("bert", "full"),
        ("bert", "head_only"),
        ("llama", "prefix"),
        ("bert", "ia3"),
    ],
)
def test_every_trial_starts_where_the_first_did(model: str, method: str, configure: Configure) -> None:
    config = configure(model, {"type": method})
    facts = validate(config)
    assert facts is not None
    choices = execution(config, facts)
    settle_machine(choices)
    trials = Trials(config, facts, choices, *prepare_data(config), SHORT)
    start = trials.loss()

    def losses(rate: float) -> dict[int, float]:
        return dict(trials.run(rate, lambda step, loss: False, Watch()).losses)

    first = losses(1e-2)
    assert losses(1e-3) != first
    assert losses(1e-2) == first
    assert list(losses(1e-12).values()) == pytest.approx([start, start], rel=1e-4)


def test_a_search_that_never_trains_says_so(configure: Configure) -> None:
    config = configure("bert", LORA)
    with pytest.raises(TrainingError, match="every trial came to NaN or infinity"):
        find_learning_rate(config, search=SearchSettings(trials=2, around=1e36))
    assert [one["status"] for one in found(config.output_dir)["trials"]] == ["diverged", "diverged"]


def test_a_trial_without_hope_is_given_up(configure: Configure) -> None:
    said: list[str] = []
    search = SearchSettings(trials=4, around=0.05, least=8, share=0.1)
    config = find_learning_rate(configure("bert", LORA), say=said.append, search=search)
    last = trials_of(config.output_dir)[-1]
    assert (last["status"], last["loss"], list(last["losses"])) == ("pruned", None, ["4"])
    assert said[-2] == "  4 of 4: learning_rate 1.50e+00, given up after 4 steps, worse than most there"


@pytest.mark.parametrize("method", ["zero_shot", "few_shot", "tfidf", "majority"])
def test_what_has_no_rate_is_refused(method: str, configure: Configure) -> None:
    with pytest.raises(ConfigError) as caught:
        find_learning_rate(configure("llama", {"type": method}))
    assert caught.value.what == (
        f"--find-lr with method={method}: it is not trained by steps, so there is no learning rate to find"
    )


def test_a_rate_that_is_given_is_not_searched(configure: Configure) -> None:
    with pytest.raises(ConfigError, match=r"--find-lr and training\.learning_rate=0\.001: the rate is given"):
        find_learning_rate(configure("bert", LORA, learning_rate=1e-3))
    with pytest.raises(ConfigError, match="--find-lr with --accept training: a run that is gone on with"):
        find_learning_rate(configure("bert", LORA), accept=["training"])


def test_what_the_folder_holds_is_not_lost(configure: Configure) -> None:
    config = configure("bert", LORA)
    folder = Path(find_learning_rate(config, search=SHORT).output_dir)
    with pytest.raises(ArtifactError) as caught:
        find_learning_rate(configure("bert", LORA, seed=3), search=SHORT)
    assert caught.value.what == (
        f"the search in {folder / FOUND} was made under other settings: training.seed: 42 -> 3"
    )
    kept = (folder / FOUND).read_text()
    (folder / FOUND).write_text(kept.replace("learning_rate", "learning_rates", 1))
    with pytest.raises(ArtifactError, match="is damaged: "):
        find_learning_rate(config, search=SHORT)
    said: list[str] = []
    find_learning_rate(config, fresh=True, say=said.append, search=SHORT)
    assert said[0] == f"What {folder} held is kept in {folder.parent / '.replaced' / 'out-1'}."
    begun = execute(configure("bert", LORA, "begun"), {})
    with pytest.raises(ArtifactError, match="holds a run that was begun without --find-lr"):
        find_learning_rate(configure("bert", LORA, "begun"), search=SHORT)
    assert not (begun / FOUND).exists()


def test_a_real_encoder_learns_more_at_the_rate_that_is_found(minilm_path: Path, tmp_path: Path) -> None:
    rows = Path(__file__).parents[2] / "examples" / "data" / "banking77_train.csv"
    given = {
        "data": {"train": str(rows), "near_duplicates": False, "rows_per_label": 2, "max_validation_rows": 64},
        "task": {"type": "classification", "text": "text", "label": "category"},
        "model": str(minilm_path),
        "method": "head_only",
        "output_dir": str(tmp_path / "out"),
    }
    config = find_learning_rate(build(RunConfig, given), search=SearchSettings(trials=2, around=1e-3))
    trials = found(config.output_dir)["trials"]
    assert config.training.learning_rate is not None
    assert config.training.learning_rate > trials[0]["learning_rate"] == 1e-3
    assert min(one["loss"] for one in trials if one["loss"]) < trials[0]["loss"] - 0.5
