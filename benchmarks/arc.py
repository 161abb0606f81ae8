"""ARC-easy with eight fixed shots: the rows, the texts in lm-eval's words, and the ids both sides must have scored."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MODEL = "smollm2-135m-instruct"
SHOTS = 8
CHOICES = 4

Pair = tuple[tuple[int, ...], tuple[int, ...]]
"""Token ids of a context and of its continuation."""


def file() -> Path:
    """Where the 570 validation rows are."""
    return Path(os.environ.get("RUNG_DATA", "")) / "probes" / "arc_easy.validation.jsonl"


def content() -> str:
    """Hash of the rows, or `absent`: a measurement's key changes when they come."""
    return hashlib.sha256(file().read_bytes()).hexdigest()[:16] if file().is_file() else "absent"


def read() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of four choices: those that are scored, and the last eight, which are the shots.

    Raises:
        FileNotFoundError: `RUNG_DATA` does not name a folder that has them.
    """
    if not file().is_file():
        raise FileNotFoundError(f"skipped: {file()} is not there; RUNG_DATA names the folder of the larger data sets")
    with file().open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rows = [row for row in rows if len(row["choices"]["text"]) == CHOICES]
    return rows[:-SHOTS], rows[-SHOTS:]


def texts(items: int) -> list[tuple[str, list[str]]]:
    """Context and continuations of the first items, worded as lm-eval words its own task."""
    scored, shots = read()
    shown = "".join(f"{_question(shot)} {_answer(shot)}\n\n" for shot in shots)
    return [(shown + _question(row), [f" {text}" for text in row["choices"]["text"]]) for row in scored[:items]]


def truths(items: int) -> list[int]:
    """Number of each item's right choice."""
    return [row["choices"]["label"].index(row["answerKey"]) for row in read()[0][:items]]


def split_ids(tokenizer: Any, context: str, continuation: str) -> Pair:
    """Ids of context and continuation, cut where the context's own ids end, as lm-eval cuts them."""
    spaces = len(context) - len(context.rstrip())
    if spaces:
        context, continuation = context[:-spaces], context[-spaces:] + continuation
    whole, first = tokenizer.encode(context + continuation), tokenizer.encode(context)
    return tuple(first), tuple(whole[len(first) :])


def digest(pairs: Sequence[Pair]) -> str:
    """Hash of ids: equal on both sides when the same ids were split at the same place."""
    return hashlib.sha256(repr([(tuple(one), tuple(other)) for one, other in pairs]).encode()).hexdigest()[:16]


def findings(scores: Sequence[Sequence[float]]) -> dict[str, Any]:
    """What both sides report of their scores: the choices, how often they are right, and the scores themselves."""
    chosen = [max(range(CHOICES), key=lambda at: one[at]) for one in scores]
    right = sum(one == other for one, other in zip(chosen, truths(len(chosen)), strict=True))
    return {"choices": chosen, "accuracy": right / len(chosen), "scores": [list(one) for one in scores]}


def _question(row: dict[str, Any]) -> str:
    return f"Question: {row['question']}\nAnswer:"


def _answer(row: dict[str, Any]) -> str:
    return row["choices"]["text"][row["choices"]["label"].index(row["answerKey"])]
