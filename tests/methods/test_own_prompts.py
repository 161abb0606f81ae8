"""The user's own prompts, and settings that make no search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rung.config.validation import build
from rung.errors import ConfigError, IncompatibleError
from rung.methods.bench import Limits
from rung.methods.prompt_search.candidates import own_prompts
from rung.methods.prompt_search.method import PromptSearch
from rung.run.config import RunConfig
from rung.tasks.classification import ClassificationConfig
from rung.tasks.prompts import text_template
from rung.types import Record, Shot

TASK = ClassificationConfig().resolve("text", None, "label", ("bad", "good"), ("text", "label"))
PAIR = ClassificationConfig().resolve("one", "two", "label", ("bad", "good"), ("one", "two", "label"))

RECORD = Record("0", {"text": "row 0", "label": "bad"}, "a.csv:2")


def test_a_prompt_that_was_written_out_can_be_given_again() -> None:
    for shots in ((), (Shot({"text": "a {{ joy"}, "good"), Shot({"text": "dull"}, "bad"))):
        prompt = replace(TASK.prompt, shots=shots)
        (again,) = own_prompts(TASK, [text_template(TASK, prompt)], ("text", "label"), True)
        shown = TASK.render(RECORD, again).messages[-1].content
        assert len(TASK.render(RECORD, again).messages) == 1
        assert shown.startswith(TASK.prompt.instruction)
        assert "row 0" in shown
        assert all(str(shot.fields["text"]) in shown for shot in shots)


def search(**settings: Any) -> PromptSearch:
    return PromptSearch.model_validate({"type": "prompt_search", **settings})


def test_own_prompts_are_files_or_texts_with_a_place_for_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Spam or not?\nBe strict.\n\nMessage: {{ text }}\n")
    method = search(prompts=[str(tmp_path / "a.txt"), "Good? {{ this['text'] }}"])
    first, second = own_prompts(TASK, method.prompts, ("text", "label"), True)
    assert (first.instruction, first.template) == ("Spam or not?\nBe strict.", "Message: {{ text }}")
    assert (second.instruction, second.template) == ("", "Good? {{ this['text'] }}")
    assert TASK.render(RECORD, first).messages[-1].content == "Spam or not?\nBe strict.\n\nMessage: row 0"
    assert TASK.render(RECORD, second).messages[-1].content == "Good? row 0"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Good? {{ txt }}", "method.prompts[0] names 'txt', which no column has. Did you mean 'text'?"),
        ("Good? {{ label }}", "method.prompts[0] shows label and not 'text', which the task reads"),
        ("Good? {{ 'x' }}", "method.prompts[0] shows no column and not 'text', which the task reads"),
    ],
)
def test_a_prompt_without_a_place_for_the_text_is_refused(text: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        own_prompts(TASK, [text], ("text", "label"), True)
    assert caught.value.what == what


def test_a_prompt_of_a_pair_shows_both_texts() -> None:
    with pytest.raises(ConfigError, match=r"method\.prompts\[0\] shows one and not 'two', which the task reads"):
        own_prompts(PAIR, ["Same? {{ one }}"], ("one", "two", "label"), True)
    assert own_prompts(PAIR, ["Same? {{ one }} {{ two }}"], ("one", "two", "label"), True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": {}}, "the budget is empty: set evaluations, tokens, seconds or cost"),
        ({"budget": {"cost": 1}}, "cost=1 says nothing without a price"),
        ({"budget": {"evaluations": 10}}, "does not let 1 prompts answer first_rows=16 rows once: at least 19"),
        ({"budget": {"evaluations": 0}}, "greater than or equal to 1"),
        ({"prompts": ["missing.txt"]}, r"prompts\[0\]='missing.txt' is no file, and as a prompt it has no place"),
        ({"proposers": []}, "at least 1 item"),
    ],
)
def test_settings_that_make_no_search_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        search(**settings)


def test_a_missing_file_is_named_with_its_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("strict.txt").write_text("{{ text }}")
    Path("empty.txt").write_text(" \n")
    body = {"data": {"train": "x.csv"}, "method": {"type": "prompt_search", "prompts": ["strct.txt"]}}
    with pytest.raises(ConfigError, match=r"method\.prompts.*'strct\.txt' is no file.*Did you mean strict\.txt\?"):
        build(RunConfig, body)
    body["method"]["prompts"] = ["empty.txt"]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match=r"prompts\[0\]=empty\.txt: the file is empty"):
        build(RunConfig, body)


def test_money_is_tokens_at_a_price() -> None:
    limits = search(budget={"cost": 0.5, "price_per_million_tokens": 2, "tokens": 900_000}).budget.limits()
    assert limits == Limits(None, 250_000, None)


def test_gradients_of_an_endpoint_are_refused_and_encoders_too() -> None:
    with pytest.raises(
        IncompatibleError, match="gradient asks the model's weights, and an endpoint's can't be reached"
    ):
        search(proposers=[{"type": "edit"}, {"type": "gradient"}]).check("endpoint", "classification")
    search().check("endpoint", "classification")
    with pytest.raises(IncompatibleError, match="an encoder can't be prompted"):
        search().check("encoder", "classification")
