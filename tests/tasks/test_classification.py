from __future__ import annotations

from typing import Any

import pytest

from rung.errors import ConfigError
from rung.tasks.classification import Classification, ClassificationConfig
from rung.types import Prompt, Record, Shot


def task(
    columns: tuple[str, ...] = ("text", "label"), labels: tuple[str, ...] = ("ham", "spam"), **settings: Any
) -> Classification:
    roles = {"text": columns[0], "text_pair": None, "label": columns[-1]} | settings.pop("roles", {})
    return ClassificationConfig(**settings).resolve(roles["text"], roles["text_pair"], roles["label"], labels, columns)


def record(**fields: Any) -> Record:
    return Record("1", fields, "a.csv:2")


def shown(made: Classification, one: Record) -> str:
    return made.render(one, made.prompt).messages[-1].content


def test_the_default_prompt() -> None:
    made = task(labels=("not_spam", "spam"))
    example = made.render(record(text="hello", label="spam"), made.prompt)
    assert [(turn.role, turn.content) for turn in example.messages] == [
        ("user", "Classify the text. Answer with one of: not spam, spam.\n\nhello")
    ]
    assert (example.text, example.pair, example.answer, example.choices, example.target) == (
        "hello", None, "spam", ("not spam", "spam"), 1,
    )  # fmt: skip


def test_the_users_own_instruction_template_and_verbalizer() -> None:
    made = task(
        columns=("title", "body", "label"),
        instruction="Is it junk? ",
        template="<{{ title }}> {{ body | upper }}",
        verbalizer={"spam": "yes", "ham": "no"},
    )
    example = made.render(record(title="Hi", body="win", label="spam"), made.prompt)
    assert example.messages[0].content == "Is it junk? Answer with one of: no, yes.\n\n<Hi> WIN"
    assert (example.answer, example.choices) == ("yes", ("no", "yes"))


@pytest.mark.parametrize(
    ("settings", "what", "todo"),
    [
        ({"verbalizer": {"spma": "x"}}, "task.verbalizer names 'spma', which is no label", "Labels: ham, spam."),
        ({"verbalizer": {"spam": " "}}, "task.verbalizer['spam'] is empty", "Give it a word."),
        (
            {"verbalizer": {"spam": "ham"}},
            "labels 'ham' and 'spam' have the same answer 'ham'",
            "Give each its own in task.verbalizer.",
        ),
        (
            {"template": "{{ txet }}"},
            "task.template names 'txet', which no column has. Did you mean 'text'?",
            "Columns: text, label, this.",
        ),
        (
            {"template": "{{ text"},
            "task.template='{{ text' line 1: unexpected end of template, expected 'end of print statement'.",
            "",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(settings: dict[str, Any], what: str, todo: str) -> None:
    with pytest.raises(ConfigError) as caught:
        task(**settings)
    assert (caught.value.what, caught.value.todo) == (what, todo)


def test_labels_that_read_alike_need_a_verbalizer() -> None:
    with pytest.raises(ConfigError, match="labels 'a b' and 'a_b' have the same answer 'a b'"):
        task(labels=("a b", "a_b"))


HOSTILE = [
    "{{ 7 * 7 }}",
    "{% for x in y %}",
    "{# gone #}",
    'it\'s "quoted" {}',
    "a\\nb",
    "{{ this['label'] }}",
    "é 漢字 🙂\n",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_data_is_never_read_as_a_template(text: str) -> None:
    made = task()
    assert shown(made, record(text=text, label="ham")) == f"{made.prompt.instruction}\n\n{text}"
    shot = Prompt(made.prompt.instruction, made.prompt.template, made.prompt.verbalizer, (Shot({"text": text}, "ham"),))
    turns = made.render(record(text="x", label=None), shot).messages
    assert [turn.role for turn in turns] == ["user", "assistant", "user"]
    assert turns[0].content.endswith(f"\n\n{text}")
    assert turns[2].content == "x"


@pytest.mark.parametrize(
    "column",
    [
        "the text",
        "it's",
        'a "b"',
        "naïve 漢字",
        "a{{ b }}",
        "{% if %}",
        "{# x #}",
        "back\\slash",
        "this",
        "1st",
        "a-b",
        "items",
    ],
)
def test_any_column_name_will_do(column: str) -> None:
    made = task(columns=(column, "label"))
    assert shown(made, record(**{column: "hello", "label": "ham"})) == f"{made.prompt.instruction}\n\nhello"
    pair = task(columns=(column, "other one", "label"), roles={"text_pair": "other one"})
    one = record(**{column: "hello", "other one": "there", "label": "ham"})
    assert shown(pair, one) == f"{pair.prompt.instruction}\n\n{column}: hello\nother one: there"


def test_a_pair() -> None:
    made = task(columns=("premise", "hypothesis", "label"), roles={"text_pair": "hypothesis"})
    one = record(premise="It rains.", hypothesis="It is wet.", label="ham")
    example = made.render(one, made.prompt)
    assert (example.text, example.pair) == ("It rains.", "It is wet.")
    assert example.messages[0].content == (
        "Classify the pair of texts. Answer with one of: ham, spam.\n\npremise: It rains.\nhypothesis: It is wet."
    )
    cut = made.shortened(one, 2).fields
    assert cut == {"premise": "It", "hypothesis": "It", "label": "ham"}
    blank = made.content_free(one, "N/A")
    assert blank.fields == {"premise": "N/A", "hypothesis": "N/A", "label": None}
    assert made.truth(blank) is None


@pytest.mark.parametrize(("value", "label"), [(" spam ", "spam"), (None, None), ("", None), ("eggs", None), (1, "1")])
def test_the_label_is_read_as_the_data_reader_reads_it(value: Any, label: str | None) -> None:
    made = task(labels=("1", "spam"))
    one = record(text="x", label=value)
    assert made.truth(one) == label
    assert made.render(one, made.prompt).answer == label


@pytest.mark.parametrize(("value", "text"), [(None, ""), (12, "12"), (["a", "é"], '["a", "é"]')])
def test_values_that_are_no_text_are_shown_alike_to_both_kinds_of_model(value: Any, text: str) -> None:
    made = task()
    example = made.render(record(text=value, label="ham"), made.prompt)
    assert example.text == text
    assert example.messages[0].content == f"{made.prompt.instruction}\n\n{text}"


def test_the_first_of_equal_scores_wins() -> None:
    assert task().parse_scores("1", [0.0, 0.0], [0.5, 0.5]).label == "ham"
    assert task().parse_scores("1", [0.0, 1.0], [0.3, 0.7]).label == "spam"
