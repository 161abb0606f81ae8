"""Instructions filled in: is it a classification, what is its input, what is the right output.

Wang et al. 2022, sections 2.2 and A.3 (https://arxiv.org/abs/2212.10560): where the answer is one of a few, it is
written first and an input to it, for else a model writes inputs of one label alone; elsewhere the input comes first.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from rung.synth.asking import Answer, Ask
from rung.synth.seeds import SeedTask
from rung.synth.settings import Style

_CLASS_SHOTS, _SHOTS = 8, 4
_LONGEST_SHOT = 80  # Words of a shot's input and output.
_NOTHING = "none"
_EMPTY = {"", "none", "n/a", "na", "no input", "<noinput>", "noinput", "(none)", "not applicable"}
_FIELD = re.compile(r"^[ \t*_#]*(input|output)[*_]*[ \t]*:[*_]*", re.IGNORECASE | re.MULTILINE)
_NEXT = re.compile(r"^[ \t*_#]*task[*_]*[ \t]*:", re.IGNORECASE | re.MULTILINE)


def ask_kind(seeds: Sequence[SeedTask], instruction: str, style: Style, seed: int) -> tuple[Ask, list[str]]:
    """The request for whether an instruction is a classification, and the seeds it shows; few of both kinds."""
    chance = random.Random(seed)
    chosen: list[SeedTask] = []
    for kind in (True, False):
        of_kind = [one for one in seeds if one.is_classification is kind]
        chosen += chance.sample(of_kind, min(_CLASS_SHOTS // 2, len(of_kind)))
    chance.shuffle(chosen)
    lines = [f"Task: {one.instruction}\nClassification: {'Yes' if one.is_classification else 'No'}" for one in chosen]
    head = "Can the task be seen as a classification task, whose answer is one of a few labels?"
    text = "\n\n".join([head, *lines, f"Task: {instruction}\nClassification:"])
    if style == "chat":
        text += "\n\nAnswer for the last task with Yes or No."
    return Ask(text, seed, 0.0, 8, ("\n",) if style == "continuation" else ()), [one.id for one in chosen]


def is_classification(answer: Answer) -> bool:
    """What an answer to `ask_kind` says; what says neither is a no."""
    return answer.text.strip(" \t\n*_\"'").casefold().startswith("yes")


def ask_instance(
    seeds: Sequence[SeedTask],
    instruction: str,
    output_first: bool,
    style: Style,
    drawing: tuple[int, float, int],
) -> tuple[Ask, list[str]]:
    """The request for an input and an output, and the seeds it shows.

    Args:
        seeds: Solved tasks to show some of: of the same kind, where it is known.
        instruction: The task.
        output_first: Whether the output is written before the input.
        style: How the model is asked.
        drawing: Seed, temperature and most new tokens.
    """
    chance = random.Random(drawing[0])
    alike = [one for one in seeds if bool(one.is_classification) is output_first and _is_short(one)]
    if output_first:
        alike = [one for one in alike if one.input] or alike
    chosen = chance.sample(alike, min(_SHOTS, len(alike)))
    fields = ("Output", "Input") if output_first else ("Input", "Output")
    blocks = [f"Task: {one.instruction}\n{_filled(one, fields)}" for one in chosen]
    head = (
        "Write one of the possible outputs of each task, then an input that it is the right output of."
        if output_first
        else "Write an input for each task, where it needs one, then the right output."
    )
    text = "\n\n".join([head, *blocks, f"Task: {instruction}\n{fields[0]}:"])
    if style == "chat":
        text += f"\n\nWrite the {fields[0]} and the {fields[1]} of the last task, in the form of those above."
    # Shots hold no blank line, and a field that comes again begins another instance.
    stops = ("\n\n", "\nTask:", f"\n{fields[0]}:") if style == "continuation" else ()
    return Ask(text, *drawing, stops), [one.id for one in chosen]


def instance(answer: Answer, output_first: bool, style: Style) -> tuple[str, str] | None:
    """The input and the output in an answer; None where they can't be told apart, or one is missing."""
    first = "Output" if output_first else "Input"
    text = f"{first}:{answer.text}" if style == "continuation" else answer.text
    after = _NEXT.search(text)
    text = text[: after.start()] if after and after.start() else text
    marks = list(_FIELD.finditer(text))
    if len(marks) < 2:
        return None
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    found: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=True):
        found.setdefault(mark[1].lower(), text[mark.end() : end].strip().strip("*_").strip())
    if not found.get("output") or "input" not in found:
        return None
    given = found["input"]
    return "" if given.strip(" .").casefold() in _EMPTY else given, found["output"]


def _filled(one: SeedTask, fields: tuple[str, str]) -> str:
    texts = {"Input": one.input or _NOTHING, "Output": one.output}
    return "\n".join(f"{name}: {texts[name]}" for name in fields)


def _is_short(one: SeedTask) -> bool:
    return len(f"{one.input} {one.output}".split()) <= _LONGEST_SHOT and "\n\n" not in f"{one.input}{one.output}"
