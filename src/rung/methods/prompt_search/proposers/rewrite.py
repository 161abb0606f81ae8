"""A model rewrites the instruction, shown what was tried and how well it did.

Papers: Zhou et al. 2022 (APE), arXiv 2211.01910; Yang et al. 2023 (OPRO), arXiv 2309.03409.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from rung.methods.prompt_search.candidates import Candidate
from rung.methods.prompt_search.proposers.base import Proposer, Scene, instructed
from rung.methods.prompt_search.proposers.writing import written
from rung.types import Message

_STYLES = (
    "Make it shorter.",
    "Make it more precise.",
    "Say what each answer means.",
    "Use other words.",
    "Say what to look for.",
    "Make it a question.",
)
_SHOWN = 6
_LONGEST = 300


class Rewrite(Proposer):
    """Ask a model for a better instruction, the best ones so far before its eyes, best last."""

    type: Literal["rewrite"] = "rewrite"
    model: str | None = None
    """The model that writes; None = the one that is prompted."""
    max_new_tokens: int = Field(default=96, ge=8)
    """Most tokens of an instruction."""

    def propose(self, scene: Scene, width: int) -> list[Candidate]:
        """One answer each, to a request that varies in its style and in the instructions shown."""
        requests = [self._request(scene) for _ in range(width)]
        texts = written(scene, self.model, [[Message("user", text)] for text in requests], self.max_new_tokens)
        parent = scene.beam[0].candidate
        found = [instructed(parent, text, "rewrite") for text in texts if text]
        return [one for one in found if scene.fits(one.prompt)]

    def _request(self, scene: Scene) -> str:
        tried = list(
            dict.fromkeys((score, prompt.instruction) for score, prompt in scene.history if prompt.instruction)
        )
        kept = tried[-_SHOWN:]
        if len(kept) > 2:
            del kept[int(scene.chance.integers(len(kept) - 1))]
        lines = [f"{round(100 * score)}: {_short(text)}" for score, text in kept]
        style = _STYLES[int(scene.chance.integers(len(_STYLES)))]
        return (
            "These are instructions for one task, each with its score; 100 is best.\n\n"
            + "\n".join(lines)
            + f"\n\nWrite one new instruction for the same task that scores higher. {style} "
            "Write the instruction alone, in one or two sentences."
        )


def _short(text: str) -> str:
    text = re.sub(r"\s+", " ", text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
