"""A prompt as text: as JSON, as the key it is known by, and as what other programs can use."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, replace
from typing import Any

from rung.tasks.base import Task
from rung.types import Pool, Prompt, Shot

_SIGN = re.compile(r"\{[{%#]")


def prompt_body(prompt: Prompt) -> dict[str, Any]:
    """The content of `prompt.json`; a pool's embeddings stand in a file of their own."""
    body = asdict(replace(prompt, pool=None))
    del body["pool"]
    if prompt.chat_template:
        del body["chat_template"]
    if prompt.pool is not None:
        pool = prompt.pool
        body["pool"] = {
            "encoder": pool.encoder,
            "encoder_hash": pool.encoder_hash,
            "count": pool.count,
            "nearest_last": pool.nearest_last,
            "shots": [asdict(shot) for shot in pool.shots],
        }
    return body


def prompt_from(body: dict[str, Any], embeddings: Any = None) -> Prompt:
    """The prompt that `prompt_body` wrote.

    Args:
        body: The content of `prompt.json`.
        embeddings: `[N, H]` of the pool's shots, where there is a pool.
    """
    body = dict(body)
    shots = _shots(body.pop("shots"))
    calibration = body.pop("calibration")
    pool = body.pop("pool", None)
    if pool is not None:
        pool = Pool(**{**pool, "shots": _shots(pool["shots"])}, embeddings=embeddings)
    return Prompt(**body, shots=shots, calibration=None if calibration is None else tuple(calibration), pool=pool)


def prompt_key(prompt: Prompt) -> str:
    """A short name made of all that decides a prompt's answers."""
    digest = hashlib.sha256(json.dumps(prompt_body(prompt), sort_keys=True, default=str).encode())
    if prompt.pool is not None:
        digest.update(prompt.pool.embeddings.tobytes())
    return digest.hexdigest()[:16]


def message_templates(task: Task, prompt: Prompt) -> list[dict[str, str]]:
    """The chat turns as Jinja templates over a row's columns: what `prompt_messages.json` holds.

    A prompt whose shots depend on the request has none of them here.
    """
    opening = f"{_literal(prompt.instruction)}\n\n" if prompt.instruction else ""
    turns: list[dict[str, str]] = []
    for shot in prompt.shots:
        turns.append({"role": "user", "content": opening + _literal(task.shown(prompt, shot.fields))})
        turns.append({"role": "assistant", "content": _literal(shot.answer)})
        opening = ""
    return [*turns, {"role": "user", "content": opening + prompt.template}]


def text_template(task: Task, prompt: Prompt) -> str:
    """The whole prompt as one Jinja template over a row's columns: what `prompt.txt` holds."""
    *solved, last = message_templates(task, prompt)
    if not solved:
        return last["content"] + "\n"
    parts = [turn["content"] if turn["role"] == "user" else f"Answer: {turn['content']}\n" for turn in solved]
    return "\n".join([*parts, last["content"], "Answer:"]) + "\n"


def _literal(text: str) -> str:
    """Text that a template shows as it is, whatever signs it holds."""
    return _SIGN.sub(lambda found: f"{{{{ {found[0]!r} }}}}", text)


def _shots(bodies: list[dict[str, Any]]) -> tuple[Shot, ...]:
    return tuple(Shot(shot["fields"], shot["answer"]) for shot in bodies)
