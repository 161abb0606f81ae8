"""The library of templates: every one of them renders, says its answer, and gives none away."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.config.loading import parse_yaml
from rung.data.mixture.roles import Roles, label_words, listed, shown_choices, text_of
from rung.data.mixture.showing import Shower, in_order
from rung.data.mixture.template_file import LIBRARY, library_path, library_types, load_templates
from rung.errors import ConfigError, DataError
from rung.types import Record

TYPES = library_types()
FILES = {kind: load_templates(str(library_path(kind))) for kind in TYPES}
EVERY = [(kind, one.name) for kind in TYPES for one in FILES[kind].templates]

# Words that no template says: an answer found in a prompt was put there.
NONSENSE = st.text("qxzjvw", min_size=8, max_size=8)


def shower(kind: str, labels: list[str]) -> Shower:
    file = FILES[kind]
    roles = Roles(file, {role: role for role in file.roles}, {})
    return Shower(roles, label_words(labels, {}, kind) if file.answers == "label" else {}, kind)


@pytest.mark.parametrize(("kind", "name"), EVERY)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_template_asks_without_giving_its_answer_away(kind: str, name: str, data: st.DataObject) -> None:
    file = FILES[kind]
    template = next(one for one in file.templates if one.name == name)
    words = data.draw(st.lists(NONSENSE, min_size=len(file.roles) + 4, max_size=len(file.roles) + 4, unique=True))
    fields: dict[str, object] = dict(zip(file.roles, words, strict=False))
    labels = words[-4:]
    if file.answers == "label":
        fields[file.answer] = data.draw(st.sampled_from(labels))
    elif file.answers == "choice":
        fields["choices"], fields[file.answer] = labels, data.draw(st.sampled_from(labels))
    prompt, completion = shower(kind, labels).show(Record("id", fields, "rows.csv:2"), template)
    assert completion
    assert "{{" not in prompt + completion
    answer = str(fields[file.answer])
    if template.inverted:
        assert answer in prompt
        assert answer not in completion
        assert completion not in prompt
    else:
        assert any(str(fields[role]) in prompt for role in file.inputs if role != "choices")
        assert (answer in prompt) == template.shows_choices
        if answer not in completion:  # then its letter stands for it
            order = sorted(labels) if file.answers == "label" else labels
            assert completion == "ABCD"[order.index(answer)]


@pytest.mark.parametrize("kind", TYPES)
def test_each_type_has_several_wordings_and_some_inverted(kind: str) -> None:
    file = FILES[kind]
    straight = [one for one in file.templates if not one.inverted]
    assert len(straight) >= 8
    assert len(straight) < len(file.templates)
    assert len({one.prompt for one in file.templates}) == len(file.templates)
    if file.answers != "text":
        assert any(one.shows_choices for one in straight)


def test_the_page_counts_the_library_right() -> None:
    page = (Path(__file__).parents[2] / "docs" / "instructions.md").read_text(encoding="utf-8")
    assert f"{len(TYPES)} types of task with nine or ten templates each, {len(EVERY)} in all" in page
    assert {len(file.templates) for file in FILES.values()} == {9, 10}


def test_the_library_lies_in_the_package() -> None:
    assert LIBRARY.is_relative_to(Path(__file__).parents[2] / "src" / "rung")
    assert {path.stem for path in LIBRARY.iterdir()} == set(TYPES)


def test_an_optional_role_may_be_empty() -> None:
    shown = shower("instruction", [])
    record = Record("id", {"instruction": "Say hello.", "input": None, "output": "Hello."}, "rows.csv:2")
    assert shown.whole(record) == ("Say hello.", "Hello.")
    for template in shown.roles.file.templates:
        prompt, _ = shown.show(record, template)
        assert not {"Input:", "None", "Given:", "Material"} & set(prompt.split())


WHOLE = """
description: Says which colour.
cluster: colours
roles: {text: {about: a text}, label: {about: its colour}}
answer: label
answers: label
templates:
  - {name: one, prompt: '{{ text }} Which colour?'}
"""


def write(path: Path, text: str) -> str:
    parse_yaml(text, "the test's own")
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("cluster: colours", "clusters: colours", "clusters='colours': unknown key. Did you mean cluster?"),
        ("name: one,", "name: one, inverse: true,", "inverse=True: unknown key. Did you mean inverted?"),
        ("answer: label", "answer: lable", "unknown role 'lable'. Did you mean 'label'?"),
        ("{{ text }} Which", "{{ txt }} Which", "template one: prompt names 'txt'. Did you mean 'text'?"),
        ("{{ text }} Which", "{{ label }} Which", "template one: its prompt names 'label', which is the answer"),
        ("Which colour?'", "Which?', answer: '{{ letter }}', inverted: true", "template one is inverted: its"),
        ("Which colour?'", "Which {% set a = 1 %}?'", "one: prompt='{{ text }} Which {% set a = 1 %}?' line 1"),
        ("label: {about: its colour}", "either: {about: x}, label: {about: x}", "a role can't be called either"),
        ("answers: label", "answers: choice", "answers=choice needs a role named choices"),
        ("answers: label", "columns: {txt: a}", "columns.txt: unknown role 'txt'. Did you mean 'text'?"),
        ("{about: a text}", "{about: a text, optional: true}", "no role but the answer must hold something"),
        ("name: one,", "name: one, inverted: true,", "template one is inverted: its prompt must name 'label'"),
    ],
)  # fmt: skip
def test_what_a_template_file_may_not_say(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in WHOLE
    path = write(tmp_path / "own.yaml", WHOLE.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_templates(path)
    assert said in str(caught.value)
    assert path in str(caught.value)


def test_two_templates_of_one_name(tmp_path: Path) -> None:
    path = write(tmp_path / "own.yaml", WHOLE + "  - {name: one, prompt: '{{ text }}?'}\n")
    with pytest.raises(ConfigError, match="two templates are called one"):
        load_templates(path)


def test_an_unknown_type_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"type=sentimnt: unknown type 'sentimnt'\. Did you mean 'sentiment'\?"):
        library_path("sentimnt")


def test_labels_are_shown_as_words() -> None:
    assert label_words(["card_arrival", "top-up", "x-1", "A B"], {}, "s") == {
        "A B": "A B", "card_arrival": "card arrival", "top-up": "top up", "x-1": "x-1",
    }  # fmt: skip
    # the order that the user gave is the order in which they are shown
    assert list(label_words(["0", "1"], {"1": "yes", "0": "no"}, "s").values()) == ["yes", "no"]
    with pytest.raises(ConfigError, match=r"s: choices\.ys: unknown label 'ys'\. Did you mean 'yes'\?"):
        label_words(["yes", "no"], {"ys": "y", "no": "n"}, "s")
    with pytest.raises(ConfigError, match=r"s: choices has no words for 'no'"):
        label_words(["yes", "no"], {"yes": "y"}, "s")
    with pytest.raises(ConfigError, match=r"s: labels 'a b' and 'a_b' are both shown as 'a b'"):
        label_words(["a_b", "a b"], {}, "s")


def test_how_choices_are_shown() -> None:
    shown = shown_choices(("red", "green", "blue"), "green")
    assert shown["either"] == "red, green or blue"
    assert shown["bullets"] == "- red\n- green\n- blue"
    assert shown["lettered"] == "(A) red\n(B) green\n(C) blue"
    assert shown["letter"] == "B"
    assert shown_choices([f"c{number}" for number in range(30)], "c28")["letter"] == "29"


@pytest.mark.parametrize(
    "value", [["a", "b"], '["a", "b"]', "a | b", "a\nb", {"text": ["a", "b"], "label": ["1", "2"]}]
)
def test_choices_of_a_row_may_be_written_in_several_ways(value: object) -> None:
    assert listed(value) == ("a", "b")


def test_texts_of_nested_fields() -> None:
    assert text_of({"text": ["first", "second"], "answer_start": [3, 4]}) == "first"
    assert text_of({"text": []}) == ""
    assert text_of(["EU", "rejects", "call"]) == "EU rejects call"
    assert text_of(None) == ""
    assert text_of(3) == "3"


@pytest.mark.parametrize("answer", ["b", "B", "1", "2nd"])
def test_a_right_choice_may_be_given_in_several_ways(answer: str) -> None:
    fields = {"question": "Which?", "choices": {"text": ["a", "b"], "label": ["1st", "2nd"]}, "answer": answer}
    shown = shower("multiple_choice", [])
    assert shown.whole(Record("id", fields, "x:1"))[1] == "b"


def test_an_answer_that_is_no_choice_is_refused_with_its_place() -> None:
    record = Record("id", {"question": "Which?", "choices": ["a", "b"], "answer": "7"}, "x.jsonl:4")
    with pytest.raises(DataError, match=r"x\.jsonl:4: answer='7' is none of the choices: a; b"):
        shower("multiple_choice", []).whole(record)


def test_a_template_that_is_added_moves_only_the_rows_it_wins() -> None:
    templates = FILES["topic"].templates
    for id in map(str, range(200)):
        before = in_order(templates[:-1], 3, id)[0]
        after = in_order(templates, 3, id)[0]
        assert after in (before, templates[-1])
    first = [in_order(templates, 3, str(id))[0].name for id in range(200)]
    assert set(first) == {one.name for one in templates}
    assert first != [in_order(templates, 4, str(id))[0].name for id in range(200)]
