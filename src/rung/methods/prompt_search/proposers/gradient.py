"""Tokens of the instruction changed where the gradient says that the right answers become likelier.

A first-order guess picks the changes (HotFlip, Ebrahimi et al. 2017, arXiv 1712.06751); the race evaluates them
exactly. After AutoPrompt (Shin et al. 2020, arXiv 2010.15980) and GCG (Zou et al. 2023, arXiv 2307.15043). The prompts
found so read badly and belong to their model.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field

from rung.errors import IncompatibleError
from rung.methods.bench import Spent
from rung.methods.prompt_search.candidates import Candidate
from rung.methods.prompt_search.proposers.base import Proposer, Scene, instructed
from rung.types import Record

_GUESSES = 4
"""Guesses per candidate wanted, of which some are drawn: the best guesses are often alike."""


class Gradient(Proposer):
    """Change one token of the best instruction; local models alone have a gradient to ask."""

    type: Literal["gradient"] = "gradient"
    num_rows: int = Field(default=8, ge=1)
    """Training rows the gradient is taken on."""

    def check(self, model_kind: str) -> None:
        """An endpoint gives no gradient."""
        if model_kind == "endpoint":
            raise IncompatibleError(
                "method.proposers: gradient asks the model's weights, and an endpoint's can't be reached",
                "Use edit, rewrite or reflect with it.",
            )

    def propose(self, scene: Scene, width: int) -> list[Candidate]:
        """Some of the most promising changes to one of the best prompts."""
        bench, parent = scene.bench, scene.parent().candidate
        flips = bench.tuning.flips
        if flips is None or not parent.prompt.instruction:
            return []
        drawn = scene.chance.choice(len(scene.train), min(self.num_rows, len(scene.train)), replace=False)
        rows = [scene.train[int(at)] for at in sorted(drawn)]

        def guess() -> tuple[list[str], Spent]:
            tokens = sum(bench.scorer.count_tokens(row, parent.prompt) for row in rows)
            # A backward pass costs about two forward passes.
            return flips.flips(rows, parent.prompt, _GUESSES * width), Spent(0, 3 * tokens)

        guesses = bench.remembered(f"flips/{parent.key}/{_names(rows)}", guess)
        chosen = scene.chance.permutation(len(guesses))[:width]
        found = [instructed(parent, guesses[int(at)], "gradient") for at in sorted(chosen.tolist())]
        return [one for one in found if scene.fits(one.prompt)]


def _names(rows: list[Record]) -> str:
    return hashlib.sha256("+".join(row.id for row in rows).encode()).hexdigest()[:16]
