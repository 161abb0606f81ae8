from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.config.document import Document
from rung.config.loading import parse_yaml
from rung.config.overrides import apply_overrides, is_override
from rung.errors import ConfigError

BASE = {"training": {"learning_rate": 2e-4}, "methods": ["zero_shot", {"type": "lora", "r": 4}], "model": "m"}


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("training.learning_rate=1e-4", ("training", "learning_rate"), 1e-4),
        ("training.seed=7", ("training", "seed"), 7),
        ("model=other", ("model",), "other"),
        ("model=", ("model",), None),
        ("model==", ("model",), "="),
        ("model=a=b", ("model",), "a=b"),
        ("models=[a, b]", ("models",), ["a", "b"]),
        ("methods[0]=few_shot", ("methods", 0), "few_shot"),
        ("methods[1].r=16", ("methods", 1, "r"), 16),
        ("methods[0].num_shots=4", ("methods", 0), {"type": "zero_shot", "num_shots": 4}),
        ("methods+=full", ("methods",), ["zero_shot", {"type": "lora", "r": 4}, "full"]),
        ("models+=m", ("models",), ["m"]),
        ("methods[1].target_modules+=q", ("methods", 1, "target_modules"), ["q"]),
        ("new.section.key={a: 1}", ("new", "section", "key"), {"a": 1}),
        ("task.verbalizer.not spam=ham", ("task", "verbalizer", "not spam"), "ham"),
        ("label=no", ("label",), "no"),
    ],
)
def test_an_override_sets_one_value(override, path, value):
    found = apply_overrides(BASE, [override])
    for step in path:
        found = found[step]
    assert found == value


def test_overrides_leave_the_given_settings_alone():
    before = repr(BASE)
    apply_overrides(BASE, ["training.learning_rate=1", "methods[1].r=2", "methods+=x"])
    assert repr(BASE) == before


def test_later_overrides_win():
    assert apply_overrides({}, ["a.b=1", "a.b=2", "a.c=3"]) == {"a": {"b": 2, "c": 3}}


def test_overridden_settings_stand_on_the_command_line():
    document = apply_overrides(parse_yaml("a:\n  b: 1\n  c: 2\n", "run.yaml"), ["a.b=3", "d+=1"])
    assert document.place(("a", "b")) == "command line"
    assert document.place(("a", "c")) == "run.yaml:3"
    assert document.place(("d", 0)) == "command line"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("r", "'r' is not an override: it has no '='."),
        ("=1", "'=1' is not an override: '' is not a path of keys."),
        (".a=1", "'.a=1' is not an override: '.a' is not a path of keys."),
        ("a..b=1", "'a..b=1' is not an override: 'a..b' is not a path of keys."),
        ("a.=1", "'a.=1' is not an override: 'a.' is not a path of keys."),
        ("[0]=1", "'[0]=1' is not an override: '[0]' is not a path of keys."),
        ("a[-1]=1", "'a[-1]=1' is not an override: 'a[-1]' is not a path of keys."),
        ("a[x]=1", "'a[x]=1' is not an override: 'a[x]' is not a path of keys."),
        ("methods[0]r=1", "'methods[0]r=1' is not an override: 'methods[0]r' is not a path of keys."),
        ("methods[2]=x", "'methods[2]=x': methods has 2 item(s), and positions count from 0."),
        ("models[0]=x", "'models[0]=x': models has 0 item(s), and positions count from 0."),
        ("model[0]=x", "'model[0]=x': model is not a list."),
        ("methods.r=1", "'methods.r=1': methods is a list."),
        (
            "training.learning_rate.x=1",
            "'training.learning_rate.x=1': training.learning_rate=0.0002 is a value, it has no 'x'.",
        ),
        ("model+=x", "'model+=x': model='m' is not a list."),
        (
            "training.seed=[1",
            "command line:1:3: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'.",
        ),
        (
            "training.seed=010",
            "command line:1:1: 010 could be octal or decimal: write 10 for the number, '010' for the text.",
        ),
    ],
)
def test_bad_overrides_are_refused(override, message):
    with pytest.raises(ConfigError) as caught:
        apply_overrides(BASE, [override])
    assert caught.value.what == message


@given(st.text(max_size=30))
def test_any_text_is_applied_or_refused(text):
    try:
        document = apply_overrides(BASE, [text])
    except ConfigError:
        return
    assert isinstance(document, Document)
    assert is_override(text)
