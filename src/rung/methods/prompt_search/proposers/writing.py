"""What models write, as instructions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from rung.errors import ConfigError
from rung.methods.bench import Spent
from rung.methods.prompt_search.proposers.base import Scene
from rung.types import Message

_LEAST_WORDS = 3
_LABEL = re.compile(r"^\W*(new |improved |better )?instructions?\W*:\s*", re.IGNORECASE)


def written(scene: Scene, model: str | None, chats: Sequence[Sequence[Message]], max_new_tokens: int) -> list[str]:
    """An instruction per conversation, "" where none could be read; each conversation is answered once and for all.

    Raises:
        ConfigError: There is no model that writes.
        SpentError: The budget allows no further writing.
    """
    if not chats:
        return []
    bench = scene.bench
    if bench.tuning.writer is None:
        raise ConfigError(
            "method.proposers: rewrite and reflect need a model that writes, and this one only scores",
            "Set model: in them, or use proposers: [edit].",
        )
    body = [[(turn.role, turn.content) for turn in chat] for chat in chats]
    digest = hashlib.sha256(json.dumps([model, max_new_tokens, body]).encode()).hexdigest()[:16]
    ask = bench.tuning.writer

    def write() -> tuple[list[str], Spent]:
        writer = ask(model)
        texts = writer.write(chats, max_new_tokens)
        return texts, Spent(0, writer.written_tokens(chats, texts))

    return [_instruction(scene, text) for text in bench.remembered(f"written/{digest}", write)]


def _instruction(scene: Scene, text: str) -> str:
    """The first paragraph without quotes and labels; labels are listed where the text names none of them."""
    lines = [_LABEL.sub("", line).strip().strip("\"'`*") for line in text.strip().split("\n")]
    first = next((line for line in lines if len(line.split()) >= _LEAST_WORDS), "")
    if not first:
        return ""
    answers = list(scene.task.prompt.verbalizer.values())
    if answers and not all(answer.lower() in first.lower() for answer in answers):
        first = f"{first.rstrip()} Answer with one of: {', '.join(answers)}."
    return first
