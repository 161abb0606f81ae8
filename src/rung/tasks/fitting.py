"""Prompts that fit: a record's text is cut, never the instruction, the shots or the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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


Encode = Callable[[Any, Sequence[Example]], list[list[int]]]
"""A tokenizer and examples to the token ids by which a model is asked for their answers."""
Asked = Callable[[Sequence[Record], Sequence[Example]], list[list[int]]]
"""The same of a tokenizer that is known; a record that can't be asked about is named."""


def chats_ids(tokenizer: Any, examples: Sequence[Example]) -> list[list[int]]:
    """The prompts' token ids as chats, in the model's own template or in plain text."""
    tools = [example.tools for example in examples]
    own = all(example.chat_template for example in examples)
    return render_chats(tokenizer, [example.messages for example in examples], True, own, tools=tools)


def fit(task: Task, record: Record, prompt: Prompt, tokenizer: Any, room: int, encode: Encode = chats_ids) -> Fitted:
    """A record as `fit_all` renders it."""
    return fit_all(task, [record], prompt, tokenizer, room, encode)[0]


def fit_all(
    task: Task, records: Sequence[Record], prompt: Prompt, tokenizer: Any, room: int, encode: Encode = chats_ids
) -> list[Fitted]:
    """Render records into at most `room` prompt tokens each, cutting the end of a text by bisection.

    Args:
        task: The task.
        records: The records.
        prompt: The prompt.
        tokenizer: The model's tokenizer.
        room: Tokens there are for the prompt.
        encode: How the model is asked (see `rung.objectives.worded`); chats by default.

    Raises:
        DataError: When the prompt does not fit even without a text.
    """
    # A request's own shots are settled by its whole text, before any of it is cut.
    prompts = [task.prompt_for(record, prompt) for record in records]
    examples = [task.render(record, own) for record, own in zip(records, prompts, strict=True)]
    asked = partial(_encoded, tokenizer, encode)
    whole = asked(records, examples)
    return [
        Fitted(example, tuple(ids), 0) if len(ids) <= room else _cut(task, record, own, asked, (room, len(ids)))
        for record, own, example, ids in zip(records, prompts, examples, whole, strict=True)
    ]


def _encoded(tokenizer: Any, encode: Encode, records: Sequence[Record], examples: Sequence[Example]) -> list[list[int]]:
    """The prompts' token ids; a conversation that the template refuses is named by its place."""
    try:
        return encode(tokenizer, examples)
    except ModelError as error:
        if len(records) > 1:
            for record, example in zip(records, examples, strict=True):
                _encoded(tokenizer, encode, [record], [example])
        raise ModelError(f"{records[0].source}: {error.what}", error.todo) from None


def _cut(task: Task, record: Record, prompt: Prompt, asked: Asked, limits: tuple[int, int]) -> Fitted:
    """The longest text whose prompt has at most `limits[0]` tokens; whole it has `limits[1]`."""
    room, whole = limits

    def tried(characters: int) -> tuple[Example, list[int]]:
        example = task.render(task.shortened(record, characters), prompt)
        return example, asked([record], [example])[0]

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
