"""Edits without any model: phrases and words of the instruction, and the examples.

After GrIPS: Prasad et al. 2022, arXiv 2203.07281. Its paraphrases come from a model; ours from a table of words.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from rung.methods.prompt_search.candidates import Candidate
from rung.methods.prompt_search.proposers.base import Proposer, Scene
from rung.methods.shots.selection import solved
from rung.types import Prompt

_PHRASE = re.compile(r"[^,.;:!?\n]+[,.;:!?\n]*\s*")

WORDS = (
    ("classify", "label", "sort", "categorise"),
    ("decide", "judge", "determine", "say"),
    ("answer with", "reply with", "respond with", "give"),
    ("text", "message", "passage"),
    ("question", "request", "query"),
    ("one of", "exactly one of", "only one of"),
    ("read", "look at", "consider"),
    ("solve", "work out", "answer"),
    ("write", "give", "state"),
)
"""Words that may stand for each other in an instruction."""

CLAUSES = (
    "Read it carefully.",
    "Think about what the writer means.",
    "Answer with the label alone.",
    "Choose the answer that fits best.",
    "Pay attention to single words.",
    "If unsure, choose the more likely answer.",
    "You are an expert at this task.",
)
"""Clauses that may be added to an instruction."""

Operator = Callable[[Scene, Prompt], tuple[Prompt, str] | None]


class Edit(Proposer):
    """Delete, swap, reword or add a phrase; add, drop, replace or reorder examples."""

    type: Literal["edit"] = "edit"

    def propose(self, scene: Scene, width: int) -> list[Candidate]:
        """One edit each, of one of the best prompts."""
        found: list[Candidate] = []
        for _ in range(4 * width):
            if len(found) == width:
                break
            parent = scene.parent().candidate
            edited = edit(scene, parent.prompt)
            if edited is not None:
                found.append(Candidate(edited[0], edited[1], parent.key))
        return found


def edit(scene: Scene, prompt: Prompt) -> tuple[Prompt, str] | None:
    """A prompt after one random edit, and what the edit was; None where the edit drawn can't be made."""
    operators = [*_WORDING, *(_SHOWING if scene.max_shots else ())]
    made = operators[int(scene.chance.integers(len(operators)))](scene, prompt)
    return made if made is not None and scene.fits(made[0]) else None


def _delete(scene: Scene, prompt: Prompt) -> tuple[Prompt, str] | None:
    phrases = _PHRASE.findall(prompt.instruction)
    if len(phrases) < 2:
        return None
    gone = phrases.pop(int(scene.chance.integers(len(phrases))))
    return _with(prompt, "".join(phrases)), f"delete {gone.strip()!r}"


def _swap(scene: Scene, prompt: Prompt) -> tuple[Prompt, str] | None:
    phrases = _PHRASE.findall(prompt.instruction)
    if len(phrases) < 2:
        return None
    one, other = (int(at) for at in scene.chance.choice(len(phrases), 2, replace=False))
    phrases[one], phrases[other] = phrases[other].strip() + " ", phrases[one].strip() + " "
    return _with(prompt, "".join(phrases)), f"swap {phrases[one].strip()!r} and {phrases[other].strip()!r}"


def _reword(scene: Scene, prompt: Prompt) -> tuple[Prompt, str] | None:
    present = [
        (word, other)
        for group in WORDS
        for word in group
        for other in group
        if word != other and re.search(rf"\b{re.escape(word)}\b", prompt.instruction, re.IGNORECASE)
    ]
    if not present:
        return None
    word, other = present[int(scene.chance.integers(len(present)))]

    def same_case(found: re.Match[str]) -> str:
        return other.capitalize() if found[0][0].isupper() else other

    text = re.sub(rf"\b{re.escape(word)}\b", same_case, prompt.instruction, count=1, flags=re.IGNORECASE)
    return _with(prompt, text), f"reword {word!r} as {other!r}"


def _add(scene: Scene, prompt: Prompt) -> tuple[Prompt, str] | None:
    others = [phrase for one in scene.own for phrase in _PHRASE.findall(one.prompt.instruction)]
    clauses = [*CLAUSES, *dict.fromkeys(phrase.strip() for phrase in others)]
    fresh = [clause for clause in clauses if clause and clause not in prompt.instruction]
    if not fresh:
        return None
    clause = fresh[int(scene.chance.integers(len(fresh)))]
    parts = [clause, prompt.instruction] if scene.chance.integers(2) else [prompt.instruction, clause]
    return _with(prompt, " ".join(parts)), f"add {clause!r}"


def _show(scene: Scene, prompt: Prompt) -> tuple[Prompt, str] | None:
    """One more example, of the answer that is shown least, where answers are labels."""
    if len(prompt.shots) >= scene.max_shots:
        return None
    record = scene.train[int(scene.chance.integers(len(scene.train)))]
    if scene.task.labels:
        shown = [shot.answer for shot in prompt.shots]
        least = min(scene.task.labels, key=lambda label: shown.count(prompt.verbalizer[label]))
        able = [row for row in scene.train if scene.task.truth(row) == least]
        record = able[int(scene.chance.integers(len(able)))] if able else record
    shots = list(prompt.shots)
    shots.insert(int(scene.chance.integers(len(shots) + 1)), solved(scene.task, record))
    return replace(prompt, shots=tuple(shots)), f"show {record.source}"


def _drop(scene: Scene, prompt: Prompt) -> tuple[Prompt, str] | None:
    if not prompt.shots:
        return None
    shots = list(prompt.shots)
    number = int(scene.chance.integers(len(shots)))
    shots.pop(number)
    return replace(prompt, shots=tuple(shots)), f"drop example {number + 1}"


def _exchange(scene: Scene, prompt: Prompt) -> tuple[Prompt, str] | None:
    dropped = _drop(scene, prompt)
    shown = None if dropped is None else _show(scene, dropped[0])
    return None if dropped is None or shown is None else (shown[0], f"{dropped[1]}, {shown[1]}")


def _reorder(scene: Scene, prompt: Prompt) -> tuple[Prompt, str] | None:
    if len(prompt.shots) < 2:
        return None
    order = scene.chance.permutation(len(prompt.shots)).tolist()
    return replace(prompt, shots=tuple(prompt.shots[at] for at in order)), f"reorder {order}"


_WORDING: tuple[Operator, ...] = (_delete, _swap, _reword, _add)
_SHOWING: tuple[Operator, ...] = (_show, _drop, _exchange, _reorder)


def _with(prompt: Prompt, instruction: str) -> Prompt:
    return replace(prompt, instruction=instruction.strip())
