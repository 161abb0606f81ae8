"""Prompts that fit: a record's text is cut, never the instruction, the shots or the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rung.errors import DataError
from rung.models.tokenizer import render_chat
from rung.tasks.base import Task
from rung.types import Example, Prompt, Record


@dataclass(frozen=True, slots=True)
class Fitted:
    """An example whose prompt fits.

    Attributes:
        example: The example, its text cut if need be.
        ids: The prompt's token ids.
        cut: Tokens that were cut off.
    """

    example: Example
    ids: tuple[int, ...]
    cut: int


def fit(task: Task, record: Record, prompt: Prompt, tokenizer: Any, room: int) -> Fitted:
    """Render a record into at most `room` prompt tokens, cutting the end of its text by bisection.

    Args:
        task: The task.
        record: The record.
        prompt: The prompt.
        tokenizer: The model's tokenizer.
        room: Tokens there are for the prompt.

    Raises:
        DataError: When the prompt does not fit even without a text.
    """

    def tried(characters: int | None) -> tuple[Example, list[int]]:
        shown = record if characters is None else task.shortened(record, characters)
        example = task.render(shown, prompt)
        return example, render_chat(tokenizer, example.messages, add_generation_prompt=True)

    example, ids = tried(None)
    if len(ids) <= room:
        return Fitted(example, tuple(ids), 0)
    low, high = 0, max(len(str(value)) for value in record.fields.values())
    whole = len(ids)
    best = tried(0)
    if len(best[1]) > room:
        raise DataError(
            f"the prompt without its text takes {len(best[1])} tokens and only {room} are there",
            "Shorten the instruction, use fewer shots, or raise max_length up to what the model can read.",
        )
    while high - low > 1:
        middle = (low + high) // 2
        found = tried(middle)
        if len(found[1]) <= room:
            low, best = middle, found
        else:
            high = middle
    return Fitted(best[0], tuple(best[1]), whole - len(best[1]))
