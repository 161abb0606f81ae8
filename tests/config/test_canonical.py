from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from rung.config.aliases import ALIASES
from rung.config.base import Config
from rung.config.canonical import canonicalise
from rung.config.loading import parse_yaml
from rung.config.overrides import apply_overrides
from rung.config.validation import build
from rung.errors import ConfigError
from rung.run.config import RunConfig


class Lora(Config):
    type: Literal["lora"] = "lora"
    r: int = 8
    lora_alpha: float = 16
    target_modules: str | list[str] = "all-linear"


class Full(Config):
    type: Literal["full"] = "full"


Method = Annotated[Lora | Full, Field(discriminator="type")]


class Training(Config):
    learning_rate: float = 5e-5
    num_train_epochs: float = 3
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    warmup_steps: float = 0.0
    max_length: int | None = None


class Data(Config):
    train: str
    validation_size: float = 0.1


class Run(Config):
    data: Data
    model: str = "minilm-l6"
    method: Method = Lora()
    methods: tuple[Method, ...] = ()
    named: dict[str, Method] = Field(default_factory=dict)
    training: Training = Training()


def spelled(text: str, *overrides: str) -> dict[str, object]:
    return dict(canonicalise(Run, apply_overrides(parse_yaml(text, "run.yaml"), overrides)))


@pytest.mark.parametrize(
    ("section", "alias", "name"),
    [
        ("training", "lr", "learning_rate"),
        ("training", "epochs", "num_train_epochs"),
        ("training", "num_epochs", "num_train_epochs"),
        ("training", "batch_size", "per_device_train_batch_size"),
        ("training", "micro_batch_size", "per_device_train_batch_size"),
        ("training", "gradient_accumulation", "gradient_accumulation_steps"),
        ("training", "sequence_len", "max_length"),
        ("training", "cutoff_len", "max_length"),
        ("training", "max_seq_length", "max_length"),
        ("training", "model_max_length", "max_length"),
        ("training", "learning-rate", "learning_rate"),
        ("training", "batch-size", "per_device_train_batch_size"),
        ("data", "val_set_size", "validation_size"),
        ("data", "path", "train"),
    ],
)
def test_other_tools_names_become_ours(section, alias, name):
    assert spelled(f"{section}: {{{alias}: 1}}") == {section: {name: 1}}


@pytest.mark.parametrize("alias", ["base_model", "model_name_or_path"])
def test_the_model_has_many_names(alias):
    assert spelled(f"{alias}: x") == {"model": "x"}


@pytest.mark.parametrize("alias", ["rank", "lora_r", "lora_rank"])
def test_names_reach_into_union_members(alias):
    assert spelled(f"methods: [{{type: lora, {alias}: 4}}]") == {"methods": [{"type": "lora", "r": 4}]}
    assert spelled(f"method: {{type: full, {alias}: 4}}") == {"method": {"type": "full", alias: 4}}


def test_an_alias_counts_only_where_its_setting_is():
    assert spelled("lr: 1\ndata: {lr: 1}") == {"lr": 1, "data": {"lr": 1}}


def test_a_bare_name_is_a_member_of_the_union():
    assert spelled("method: lora\nmethods: [full, {type: lora}, fulll]\nnamed: {a: full}") == {
        "method": {"type": "lora"},
        "methods": [{"type": "full"}, {"type": "lora"}, {"type": "fulll"}],
        "named": {"a": {"type": "full"}},
    }


def test_finetuning_type_is_the_method():
    assert spelled("finetuning_type: full") == {"method": {"type": "full"}}


def test_a_union_that_takes_text_keeps_it():
    class Asked(Config):
        how: str | Lora = ""

    assert canonicalise(Asked, {"how": "lora"}) == {"how": "lora"}


def test_the_given_settings_are_left_alone():
    given = {"training": {"lr": 1e-4}, "method": "lora"}
    canonicalise(Run, given)
    assert given == {"training": {"lr": 1e-4}, "method": "lora"}


def test_two_names_may_agree():
    assert spelled("training: {lr: 1, learning_rate: 1.0}") == {"training": {"learning_rate": 1}}


def test_two_names_that_differ_are_refused():
    with pytest.raises(ConfigError) as caught:
        spelled("training:\n  learning_rate: 2\n  lr: 1\n")
    assert str(caught.value) == (
        "run.yaml:3: training.learning_rate=2 and training.lr=1 are two names of one setting.\n  Keep one of them."
    )


@pytest.mark.parametrize("override", ["training.lr=3", "training.learning_rate=3", "training.max_lr=3"])
@pytest.mark.parametrize("key", ["lr", "learning_rate"])
def test_the_command_line_wins_under_any_name(key, override):
    assert spelled(f"training: {{{key}: 1}}", override) == {"training": {"learning_rate": 3}}


def test_the_command_line_may_not_contradict_itself():
    with pytest.raises(ConfigError, match="are two names of one setting"):
        spelled("", "training.lr=3", "training.learning_rate=4")


def test_a_warmup_share_is_below_one():
    assert spelled("training: {warmup_ratio: 0.1}") == {"training": {"warmup_steps": 0.1}}
    with pytest.raises(ConfigError) as caught:
        spelled("training: {warmup_ratio: 1}")
    assert str(caught.value) == (
        "run.yaml:1: training.warmup_ratio=1 must be a share below 1.\n  Write warmup_steps for a number of steps."
    )


def test_lines_follow_a_renamed_key():
    with pytest.raises(ConfigError) as caught:
        build(Run, parse_yaml("data: {train: a}\ntraining:\n  lr: x\n", "run.yaml"))
    assert str(caught.value).startswith("run.yaml:3: training.learning_rate='x': must be")


def test_no_name_is_its_own_alias():
    assert set(ALIASES) & set(ALIASES.values()) == set()


def test_the_name_alone_chooses_in_a_setting_that_may_be_left_out():
    given = {"data": {"train": "a.csv"}, "method": "lora", "objective": "causal_lm"}
    assert canonicalise(RunConfig, given)["objective"] == {"type": "causal_lm"}
