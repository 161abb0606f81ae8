"""A local decoder as a writer of free text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rung.compute.decode import continued
from rung.evaluate.generating import Writer
from rung.models.tokenizer import end_of_turn_id, render_chats
from rung.types import Message


class LocalWriter:
    """Answers conversations greedily.

    Args:
        model: An adapted decoder.
        tokenizer: Its tokenizer.
        max_length: Tokens it can read.
    """

    def __init__(self, model: Writer, tokenizer: Any, max_length: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length

    def write(self, chats: Sequence[Sequence[Message]], max_new_tokens: int) -> list[str]:
        """One answer per conversation; one that leaves no room for an answer loses its beginning."""
        self.model.evaluating()
        room = max(self.max_length - max_new_tokens, 1)
        prompts = [ids[-room:] for ids in render_chats(self.tokenizer, chats, add_generation_prompt=True)]
        with torch.inference_mode():
            stop = end_of_turn_id(self.tokenizer)
            found = continued(self.model.family, prompts, stop, max_new_tokens, self.model.additions)
        return [str(self.tokenizer.decode(one.ids, skip_special_tokens=True)) for one in found]

    def written_tokens(self, chats: Sequence[Sequence[Message]], texts: Sequence[str]) -> int:
        """Tokens read and written for these answers."""
        read = render_chats(self.tokenizer, chats, add_generation_prompt=True)
        said = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return sum(map(len, read)) + sum(map(len, said))
