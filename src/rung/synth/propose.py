"""New instructions from old ones: a numbered list that the model goes on with.

Wang et al., "Self-Instruct", 2022, section 2.2 (https://arxiv.org/abs/2212.10560): eight tasks in a prompt, six of
them from the seeds and two from what was accepted so far.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rung.synth.asking import Answer, Ask
from rung.synth.seeds import one_line
from rung.synth.settings import Style

SEED_SHOTS, OWN_SHOTS = 6, 2

_NUMBERED = re.compile(
    r"^[ \t]*(?:[-*#>_]+[ \t]*)*(?:task|instruction)?[ \t]*\(?(\d{1,3})[ \t]*[.):\]]+[*_]*(?!\d)[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_AROUND = " \t\"'`*_“”"
_LABEL = re.compile(r"^(?:task|instruction|question)\s*:\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Shown:
    """A task that a prompt may show: its id and its instruction."""

    id: str
    instruction: str


def shots(seeds: Sequence[Shown], own: Sequence[Shown], chance: random.Random) -> list[Shown]:
    """Six seeds and two of the model's own, shuffled; seeds in place of what is missing of its own."""
    mine = chance.sample(list(own), min(OWN_SHOTS, len(own)))
    count = min(SEED_SHOTS + OWN_SHOTS - len(mine), len(seeds))
    chosen = [*chance.sample(list(seeds), count), *mine]
    chance.shuffle(chosen)
    return chosen


def ask(shown: Sequence[Shown], wanted: int, style: Style, drawing: tuple[int, float, int]) -> Ask:
    """The request for so many further instructions.

    Args:
        shown: The tasks in the prompt.
        wanted: How many more.
        style: How the model is asked.
        drawing: Seed, temperature and most new tokens.
    """
    first, last = len(shown) + 1, len(shown) + wanted
    tasks = "\n".join(f"{number}. {one_line(task.instruction)}" for number, task in enumerate(shown, start=1))
    if style == "continuation":
        text = f"Come up with a series of tasks:\n\n{tasks}\n{first}."
        return Ask(text, *drawing, stops=(f"\n{last + 1}.", "\n\n\n"))
    text = (
        f"Here are {len(shown)} tasks:\n\n{tasks}\n\nCome up with {wanted} further tasks, each unlike these and unlike "
        f"the others. Write one on a line, numbered {first} to {last}, without their answers."
    )
    return Ask(text, *drawing)


def proposed(answer: Answer, shown: int, wanted: int, style: Style) -> list[tuple[str, bool]]:
    """The instructions in an answer, and whether each is whole: the last one may be cut off.

    Args:
        answer: The answer.
        shown: Tasks in the prompt.
        wanted: How many more it asked for.
        style: How the model was asked.
    """
    text = f"{shown + 1}.{answer.text}" if style == "continuation" else answer.text
    items = listed(text)
    whole = [True] * len(items)
    if items and not answer.finished:
        whole[-1] = False
    return list(zip(items, whole, strict=True))[:wanted]


def listed(text: str) -> list[str]:
    """The items of a numbered list, however it is marked up; what stands before the first number is none."""
    marks = list(_NUMBERED.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    return [_item(text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)]


def _item(text: str) -> str:
    """The item's first paragraph on one line, without quotes, marks and a second number around it."""
    paragraph = text.strip().split("\n\n")[0]
    return _LABEL.sub("", _NUMBERED.sub("", one_line(paragraph).strip(_AROUND))).strip(_AROUND)
