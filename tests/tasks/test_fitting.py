"""Prompts that are too long: the text is cut, the instruction, the shots and the answer are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from rung.errors import DataError
from rung.models.load import load_tokenizer
from rung.models.tokenizer import render_chat
from rung.tasks.classification import Classification, ClassificationConfig
from rung.tasks.fitting import fit
from rung.types import Record


@pytest.fixture(scope="module")
def tokenizer(tiny_models: dict[str, Path]) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_models["llama"])


@pytest.fixture(scope="module")
def task() -> Classification:
    return ClassificationConfig().resolve("text", None, "label", ("bad", "good"), ("text", "label"))


def record(text: str) -> Record:
    return Record("1", {"text": text, "label": "good"}, "a.csv:2")


def test_what_fits_is_left_alone(task: Classification, tokenizer: PreTrainedTokenizerBase) -> None:
    whole = fit(task, record("a joy"), task.prompt, tokenizer, 500)
    assert whole.cut == 0
    assert whole.example == task.render(record("a joy"), task.prompt)
    assert fit(task, record("a joy"), task.prompt, tokenizer, len(whole.ids)) == whole


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=200), spare=st.integers(0, 60))
def test_the_cut_text_is_the_longest_that_fits(
    text: str, spare: int, task: Classification, tokenizer: PreTrainedTokenizerBase
) -> None:
    room = len(fit(task, record(""), task.prompt, tokenizer, 500).ids) + spare
    found = fit(task, record(text), task.prompt, tokenizer, room)
    assert len(found.ids) <= room
    assert text.startswith(found.example.text)
    assert found.example.answer == "good"
    assert found.example.messages[0].content == f"{task.prompt.instruction}\n\n{found.example.text}"
    assert list(found.ids) == render_chat(tokenizer, found.example.messages, add_generation_prompt=True)
    whole = len(render_chat(tokenizer, task.render(record(text), task.prompt).messages, add_generation_prompt=True))
    assert found.cut == whole - len(found.ids)
    if found.example.text != text:
        assert whole > room
        # byte-level tokens: some longer beginning may fit again only where merges shrink it
        longer = fit(task, record(text[: len(found.example.text) + 1]), task.prompt, tokenizer, 500)
        assert len(longer.ids) > room


def test_an_instruction_that_does_not_fit_is_refused(task: Classification, tokenizer: PreTrainedTokenizerBase) -> None:
    bare = len(fit(task, record(""), task.prompt, tokenizer, 500).ids)
    with pytest.raises(DataError) as caught:
        fit(task, record("a joy from start to end"), task.prompt, tokenizer, bare - 1)
    assert caught.value.what == f"the prompt without its text takes {bare} tokens and only {bare - 1} are there"
    assert caught.value.todo == (
        "Shorten the instruction, use fewer shots, or raise max_length up to what the model can read."
    )
