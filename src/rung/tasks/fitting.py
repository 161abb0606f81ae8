"""Prompts that fit: a record's text is cut, never the instruction, the shots or the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rung.errors import DataError, ModelError
from rung.models.tokenizer import render_chats
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
    """A record as `fit_all` renders it."""
    return fit_all(task, [record], prompt, tokenizer, room)[0]


def fit_all(task: Task, records: Sequence[Record], prompt: Prompt, tokenizer: Any, room: int) -> list[Fitted]:
    """Render records into at most `room` prompt tokens each, cutting the end of a text by bisection.

    Args:
        task: The task.
        records: The records.
        prompt: The prompt.
        tokenizer: The model's tokenizer.
        room: Tokens there are for the prompt.

    Raises:
        DataError: When the prompt does not fit even without a text.
    """
    # A request's own shots are settled by its whole text, before any of it is cut.
    prompts = [task.prompt_for(record, prompt) for record in records]
    examples = [task.render(record, own) for record, own in zip(records, prompts, strict=True)]
    whole = _rendered(tokenizer, records, examples)
    return [
        Fitted(example, tuple(ids), 0) if len(ids) <= room else _cut(task, record, own, tokenizer, (room, len(ids)))
        for record, own, example, ids in zip(records, prompts, examples, whole, strict=True)
    ]


def _rendered(tokenizer: Any, records: Sequence[Record], examples: Sequence[Example]) -> list[list[int]]:
    """The prompts' token ids; a conversation that the template refuses is named by its place."""
    tools = [example.tools for example in examples]
    own = all(example.chat_template for example in examples)
    try:
        return render_chats(tokenizer, [example.messages for example in examples], True, own, tools=tools)
    except ModelError as error:
        if len(records) > 1:
            for record, example in zip(records, examples, strict=True):
                _rendered(tokenizer, [record], [example])
        raise ModelError(f"{records[0].source}: {error.what}", error.todo) from None


def _cut(task: Task, record: Record, prompt: Prompt, tokenizer: Any, limits: tuple[int, int]) -> Fitted:
    """The longest text whose prompt has at most `limits[0]` tokens; whole it has `limits[1]`."""
    room, whole = limits

    def tried(characters: int) -> tuple[Example, list[int]]:
        example = task.render(task.shortened(record, characters), prompt)
        return example, _rendered(tokenizer, [record], [example])[0]

    low, high = 0, max(len(str(value)) for value in record.fields.values())
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
