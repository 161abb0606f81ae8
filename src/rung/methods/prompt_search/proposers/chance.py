"""Candidates by chance alone: what a search must beat to be worth its budget. Not a choice of the user's."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from rung.methods.prompt_search.candidates import Candidate
from rung.methods.prompt_search.proposers.base import Proposer, Scene
from rung.methods.prompt_search.proposers.edit import edit
from rung.methods.shots.selection import balanced, solved

_MOST_EDITS = 3


class Chance(Proposer):
    """A prompt the search began with, after a few edits, with examples drawn anew: no score has a say."""

    type: Literal["chance"] = "chance"

    def propose(self, scene: Scene, width: int) -> list[Candidate]:
        """Each from one of the first candidates."""
        found: list[Candidate] = []
        for _ in range(4 * width):
            if len(found) == width:
                break
            start = scene.own[int(scene.chance.integers(len(scene.own)))]
            prompt = start.prompt
            for _ in range(int(scene.chance.integers(1, _MOST_EDITS + 1))):
                edited = edit(scene, prompt)
                prompt = prompt if edited is None else edited[0]
            count = int(scene.chance.integers(scene.max_shots + 1))
            drawn = balanced(scene.task, scene.train, count, int(scene.chance.integers(2**31)))
            prompt = replace(prompt, shots=tuple(solved(scene.task, record) for record in drawn))
            if scene.fits(prompt):
                found.append(Candidate(prompt, "chance", start.key))
        return found
