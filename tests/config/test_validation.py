from __future__ import annotations

import copy
from typing import Annotated, Any, Literal, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from rung.config.base import Config
from rung.config.loading import parse_yaml
from rung.config.overrides import apply_overrides
from rung.config.validation import build
from rung.errors import ConfigError


class Lora(Config):
    type: Literal["lora"] = "lora"
    r: int = Field(default=8, ge=1)
    lora_alpha: float = 16
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"
    bias: Literal["none", "all", "lora_only"] = "none"


class ZeroShot(Config):
    type: Literal["zero_shot"] = "zero_shot"


class FewShot(Config):
    type: Literal["few_shot"] = "few_shot"
    num_shots: int = 4


Method = Annotated[Lora | ZeroShot | FewShot, Field(discriminator="type")]


class Preference(Config):
    type: Literal["dpo", "ipo"]
    beta: float = 0.1


class Data(Config):
    train: str
    test: str | None = None
    test_size: float = Field(default=0.2, ge=0, lt=1)
    validation_size: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _leaves_train_rows(self) -> Self:
        if self.test_size + self.validation_size >= 1:
            raise ValueError(f"test_size={self.test_size} and validation_size={self.validation_size} leave no rows")
        return self


class Training(Config):
    learning_rate: float = Field(default=5e-5, gt=0)
    num_train_epochs: float = 3
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    warmup_steps: float = 0.0
    max_length: int | None = None
    api_token: str | None = None


class Task(Config):
    text: str | list[str] = "text"
    label: str = "label"
    verbalizer: dict[str, str] = Field(default_factory=dict)


class Run(Config):
    data: Data
    task: Task = Task()
    model: str = "smollm2-135m-instruct"
    method: Method = Lora()
    objective: Preference | None = None
    training: Training = Training()
    output_dir: str = "out"


class Ladder(Config):
    data: Data
    models: list[str] = Field(default_factory=list)
    methods: list[Method] = Field(default_factory=list)
    budget: str | int | None = None


VALID = {
    "data": {"train": "sms.csv", "test": "held.csv"},
    "task": {"text": "message", "label": "kind", "verbalizer": {"0": "ham", "1": "spam"}},
    "model": "minilm-l6",
    "method": {"type": "lora", "r": 16, "lora_alpha": 32},
    "training": {"learning_rate": 2e-4, "num_train_epochs": 1, "per_device_train_batch_size": 16},
    "output_dir": "out",
}


def problems(model: type[Config], text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        build(model, apply_overrides(parse_yaml(text, "run.yaml"), overrides))
    return str(caught.value)


def test_valid_settings_are_built():
    run = build(Run, VALID)
    assert run.method == Lora(r=16, lora_alpha=32)
    assert run.training.learning_rate == 2e-4
    assert build(Run, run.model_dump()) == run


def test_only_data_is_required():
    assert build(Run, {"data": {"train": "a.csv"}}) == Run(data=Data(train="a.csv"))
    assert problems(Run, "") == "run.yaml: data: required, and missing."
    assert problems(Run, "data: {}") == "run.yaml:1: data.train: required, and missing."


def test_an_unknown_key_names_its_line_and_its_nearest_match():
    text = "data: {train: a.csv}\ntraining:\n  learning_rte: 1e-4\n"
    assert problems(Run, text) == (
        "run.yaml:3: training.learning_rte=0.0001: unknown key. Did you mean learning_rate? Allowed: learning_rate, "
        "num_train_epochs, per_device_train_batch_size, gradient_accumulation_steps, warmup_steps, max_length, "
        "api_token."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: {type: lora, rnk: 2}", "method.rnk=2: unknown key of lora. Did you mean r? Allowed: r, lora_alpha"),
        ("method: {type: zero_shot, x: 2}", "method.x=2: unknown key of zero_shot. Allowed: none."),
        ("epcohs: 3", "epcohs=3: unknown key. Allowed: data, task, model, method, objective, training, output_dir."),
        ("training: {epcohs: 3}", "training.epcohs=3: unknown key. Did you mean num_train_epochs? Allowed: "),
        ("learning_rate: 1", "learning_rate=1: unknown key. Did you mean training.learning_rate? Allowed here: data, "),
        ("lora_rank: 1", "lora_rank=1: unknown key. Did you mean method.r? Allowed here: data, "),
        ("val_set_size: 1", "val_set_size=1: unknown key. Did you mean data.validation_size? Allowed here: data, "),
    ],
)
def test_unknown_keys(text, message):
    assert problems(Run, "data: {train: a.csv}\n" + text).startswith(f"run.yaml:2: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: loar", "method.type='loar': unknown type. Did you mean lora? Allowed: lora, zero_shot, few_shot."),
        ("method: {type: x}", "method.type='x': unknown type. Allowed: lora, zero_shot, few_shot."),
        ("method: {r: 8}", "method: type is missing. Allowed: lora, zero_shot, few_shot."),
        ("method: 3", "method=3: must be settings, `name: value`."),
        ("objective: {type: dpp}", "objective.type='dpp': unknown value. Did you mean dpo? Allowed: dpo, ipo."),
        ("objective: {}", "objective.type: required, and missing."),
        (
            "method: {type: lora, bias: sme}",
            "method.bias='sme': unknown value. Allowed: none, all, lora_only.",
        ),
        ("method: {type: lora, r: 0}", "method.r=0: must be greater than or equal to 1."),
        ("method: {type: lora, r: 1.5}", "method.r=1.5: must be a valid integer, got a number with a fractional part."),
        ("method: {type: lora, r: x}", "method.r='x': must be a valid integer, unable to parse string as an integer."),
        ("training: [1]", "training=[1]: must be a section, `training: {learning_rate: ...}`."),
        ("task: {label: 1}", "task.label=1: must be a valid string: quote it, '1'."),
        ("task: {label: true}", "task.label=True: must be a valid string: quote it, 'true'."),
        ("task: {verbalizer: {0: 1}}", "task.verbalizer.0=1: must be a valid string: quote it, '1'."),
        ("task: {text: 1}", "task.text=1: must be a valid string: quote it, '1'."),
        ("task: {text: [a, 1]}", "task.text[1]=1: must be a valid string: quote it, '1'."),
        ("task: {text: {a: 1}}", "task.text: must be a valid string or a valid list."),
        ("training: {api_token: [1]}", "training.api_token=[1]: must be a valid string."),
    ],
)
def test_wrong_values(text, message):
    assert problems(Run, "data: {train: a.csv}\n" + text) == f"run.yaml:2: {message}"


def test_a_file_in_place_of_the_data_section_says_how_to_write_it():
    assert problems(Run, "data: a.csv") == "run.yaml:1: data='a.csv': must be a section, `data: {train: ...}`."


def test_conflicts_between_settings_keep_their_own_words():
    text = "data: {train: a.csv, test_size: 0.5, validation_size: 0.5}"
    assert problems(Run, text) == "run.yaml:1: data: test_size=0.5 and validation_size=0.5 leave no rows."


def test_list_items_are_numbered():
    text = "data: {train: a.csv}\nmethods:\n  - zero_shot\n  - {type: lora, rr: 1}\n  - fulll\nmodels: [a, 2]\n"
    assert problems(Ladder, text).splitlines() == [
        "run.yaml:6: models[1]=2: must be a valid string: quote it, '2'.",
        "run.yaml:4: methods[1].rr=1: unknown key of lora. Did you mean r? Allowed: r, lora_alpha, lora_dropout, "
        "target_modules, bias.",
        "run.yaml:5: methods[2].type='fulll': unknown type. Allowed: lora, zero_shot, few_shot.",
    ]


def test_a_value_that_fits_no_alternative_is_one_problem():
    assert problems(Ladder, "data: {train: a}\nbudget: 1.5") == (
        "run.yaml:2: budget=1.5: must be a valid string or a valid integer, got a number with a "
        "fractional part: quote it, '1.5'."
    )


def test_overrides_stand_on_the_command_line():
    message = problems(Run, "data: {train: a.csv}\nmethod: {type: lora, r: 4}\n", "method.r=0", "method.alpa=1")
    assert message.splitlines() == [
        "command line: method.r=0: must be greater than or equal to 1.",
        "command line: method.alpa=1: unknown key of lora. Did you mean lora_alpha? Allowed: r, lora_alpha, "
        "lora_dropout, target_modules, bias.",
    ]


def test_plain_settings_are_located_by_their_source():
    with pytest.raises(ConfigError) as caught:
        build(Run, {"data": {"train": 1}}, "run.toml")
    assert str(caught.value) == "run.toml: data.train=1: must be a valid string: quote it, '1'."
    with pytest.raises(ConfigError) as caught:
        build(Run, {"data": {"train": 1}})
    assert str(caught.value) == "data.train=1: must be a valid string: quote it, '1'."


def test_values_are_shortened_and_secrets_left_out():
    text = f"data: {{train: a.csv, tst: {'x' * 100}}}\ntraining: {{max_length: {'y' * 100}, api_tken: hunter2}}"
    message = problems(Run, text)
    assert f"data.tst='{'x' * 56}...: unknown key" in message
    assert f"training.max_length='{'y' * 56}...: must be" in message
    assert "api_tken='hunter2'" in message
    secret = problems(Run, "data: {train: a.csv}\nsecret_key: hunter2")
    assert secret.startswith("run.yaml:2: secret_key=***: unknown key.")


def test_many_problems_are_cut_and_counted():
    text = "data: {train: a.csv}\n" + "".join(f"zz{n}: 1\n" for n in range(25))
    lines = problems(Run, text).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 5 more problem(s)."


def sections(values: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Paths of every section whose keys are fixed."""
    inner = [
        sections(held, (*path, key)) for key, held in values.items() if isinstance(held, dict) and key != "verbalizer"
    ]
    return [path, *(found for paths in inner for found in paths)]


@given(st.data())
def test_any_one_typo_is_refused_by_name(data):
    """One key of a valid file gets a letter changed, dropped, doubled or swapped: never silently dropped or taken."""
    given_settings = copy.deepcopy(VALID)
    section: Any = given_settings
    path = data.draw(st.sampled_from(sections(VALID)))
    for step in path:
        section = section[step]
    key = data.draw(st.sampled_from([key for key in section if key != "type"]))
    at = data.draw(st.integers(0, len(key) - 1))
    letter = data.draw(st.sampled_from("abcxyz_"))
    typo = data.draw(
        st.sampled_from(
            [
                key[:at] + letter + key[at + 1 :],
                key[:at] + key[at + 1 :],
                key[: at + 1] + key[at:],
                key[:at] + key[at : at + 2][::-1] + key[at + 2 :],
            ]
        ).filter(lambda name: name and name not in section)
    )
    section[typo] = section.pop(key)
    with pytest.raises(ConfigError) as caught:
        build(Run, given_settings)
    assert ".".join((*path, typo)) in str(caught.value)
