"""A model is shown what an instruction got wrong, and mends it.

Papers: Pryzant et al. 2023 (ProTeGi), arXiv 2305.03495; Agrawal et al. 2025 (GEPA), arXiv 2507.19457.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from rung.methods.prompt_search.candidates import Candidate
from rung.methods.prompt_search.proposers.base import Proposer, Scene, instructed
from rung.methods.prompt_search.proposers.writing import written
from rung.methods.prompt_search.race import Runner
from rung.types import Message, Record

_LONGEST = 200


class Reflect(Proposer):
    """Ask a model to mend one of the best prompts, some of its mistakes on validation rows before its eyes."""

    type: Literal["reflect"] = "reflect"
    model: str | None = None
    """The model that writes; None = the one that is prompted."""
    num_mistakes: int = Field(default=3, ge=1)
    """Mistakes it is shown."""
    max_new_tokens: int = Field(default=96, ge=8)
    """Most tokens of an instruction."""

    def propose(self, scene: Scene, width: int) -> list[Candidate]:
        """One answer each; a prompt without mistakes is left as it is."""
        asked: list[tuple[Candidate, list[Message]]] = []
        for _ in range(width):
            parent = scene.parent()
            request = self._request(scene, parent)
            if request:
                asked.append((parent.candidate, [Message("user", request)]))
        texts = written(scene, self.model, [chat for _, chat in asked], self.max_new_tokens)
        found = [instructed(parent, text, "reflect") for (parent, _), text in zip(asked, texts, strict=True) if text]
        return [one for one in found if scene.fits(one.prompt)]

    def _request(self, scene: Scene, parent: Runner) -> str:
        records = scene.bench.records[: parent.rows]
        wrong = [
            (record, answer)
            for record, answer in zip(records, parent.answers, strict=True)
            if answer != scene.task.truth(record)
        ]
        if not wrong:
            return ""
        order = scene.chance.permutation(len(wrong))[: self.num_mistakes]
        cases = "\n\n".join(self._case(scene, *wrong[int(at)]) for at in order)
        return (
            f"An instruction was followed:\n{parent.candidate.prompt.instruction or '(none)'}\n\n"
            f"It led to these mistakes:\n\n{cases}\n\n"
            "Write a better instruction that avoids such mistakes. Write the instruction alone, in one or two "
            "sentences."
        )

    def _case(self, scene: Scene, record: Record, answer: Any) -> str:
        names = scene.task.prompt.verbalizer
        truth = scene.task.truth(record)
        shown = [scene.task.asked(record.fields), names.get(answer, answer), names.get(truth, truth)]
        text, said, right = (str(part)[:_LONGEST] for part in shown)
        return f"Text: {text}\nAnswer given: {said}\nRight answer: {right}"
