"""Prompts that fit: the last message's text is cut, never the instruction, the shots or the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rung.errors import DataError
from rung.models.tokenizer import render_chat
from rung.types import Message


def fit_prompt(tokenizer: Any, messages: Sequence[Message], room: int) -> tuple[list[int], int]:
    """Render a prompt into at most `room` tokens.

    Args:
        tokenizer: The model's tokenizer.
        messages: Chat turns; the end of the last one's text is what may be cut.
        room: Tokens there are.

    Returns:
        The ids, and how many tokens of the last text were cut.

    Raises:
        DataError: When the prompt does not fit even with an empty text.
    """
    ids = render_chat(tokenizer, messages, add_generation_prompt=True)
    if len(ids) <= room:
        return ids, 0
    text = tokenizer.encode(messages[-1].content, add_special_tokens=False)
    excess = len(ids) - room
    for kept in range(max(0, len(text) - excess), -1, -1):
        content = tokenizer.decode(text[:kept])
        shorter = render_chat(tokenizer, [*messages[:-1], replace(messages[-1], content=content)], add_generation_prompt=True)
        if len(shorter) <= room:
            return shorter, len(text) - kept
    raise DataError(
        f"the prompt without its text takes {len(ids) - len(text)} tokens and only {room} are there",
        "Shorten the instruction, use fewer shots, or raise max_length up to what the model can read.",
    )
