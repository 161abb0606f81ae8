"""The settings of a generation task, and which task is meant where its type is left out."""

from __future__ import annotations

from typing import Any

import pytest

from rung.config.validation import build
from rung.errors import ConfigError
from rung.run import RunConfig
from rung.tasks.classification import ClassificationConfig
from rung.tasks.generation import GenerationConfig


def built(task: Any) -> Any:
    return build(RunConfig, {"data": {"train": "a.csv"}, "method": "lora", "task": task}).task


def test_classification_is_meant_where_the_type_is_left_out() -> None:
    assert built({"text_column": "x", "label_column": "y"}) == ClassificationConfig(text="x", label="y")
    assert built({}) == ClassificationConfig()
    assert built("generation") == GenerationConfig()


def test_other_names_of_columns_are_taken() -> None:
    asked = built({"type": "generation", "prompt_column": "q", "answer_column": "a", "max_gen_toks": 9})
    assert asked == GenerationConfig(prompt="q", completion="a", max_new_tokens=9)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"type": "generaton"}, r"task.type='generaton': unknown type. Did you mean generation\?"),
        ({"type": "generation", "complete": "a"}, r"'a': unknown key of generation. Did you mean completion\?"),
        ({"type": "generation", "max_new_tokens": 0}, r"task.max_new_tokens=0: must be greater than or equal to 1"),
    ],
)  # fmt: skip
def test_mistakes_are_named(task: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built(task)


def test_a_template_that_names_no_column_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"names 'qestion', which no column has. Did you mean 'question'\?"):
        GenerationConfig(template="{{ qestion }}").resolve("question", None, "answer", (), ("question", "answer"))
