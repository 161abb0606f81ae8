"""Few-shot in-context learning (Brown et al. 2020, arXiv 2005.14165)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from rung.errors import ConfigError
from rung.methods.base import PromptMethod, Scorer
from rung.methods.calibration import calibrated
from rung.tasks.base import Task
from rung.types import Prompt, Record, Shot

_LONGEST_SHARE = 0.5
"""Shots may take at most this share of the context; the rest is for the text that is asked about."""


class FewShot(PromptMethod):
    """Show solved examples, as many of each label as of any other; any, where answers are open."""

    type: Literal["few_shot"] = "few_shot"
    num_shots: int = Field(default=8, ge=1)
    """Solved examples in the prompt."""
    calibration: bool = True
    """Contextual calibration (Zhao et al. 2021)."""

    def fit(self, scorer: Scorer, task: Task, train: Sequence[Record], seed: int) -> Prompt:
        """Draw the shots: balanced over labels, in a seeded order.

        Raises:
            ConfigError: When they don't fit the context; says how many do.
        """
        records = _draw(task, train, self.num_shots, seed)
        shots = tuple(Shot(dict(record.fields), _answer(task, record)) for record in records)
        prompt = replace(task.prompt, shots=shots)
        self._check_room(scorer, task.content_free(train[0], ""), prompt)
        return calibrated(scorer, task, prompt, train[0]) if self.calibration and task.labels else prompt

    def _check_room(self, scorer: Scorer, record: Record, prompt: Prompt) -> None:
        room = int(scorer.max_length * _LONGEST_SHARE)
        counts = [
            scorer.count_tokens(record, replace(prompt, shots=prompt.shots[:number]))
            for number in range(len(prompt.shots) + 1)
        ]
        if counts[-1] > room:
            fit = sum(count <= room for count in counts) - 1
            raise ConfigError(
                f"method.num_shots={self.num_shots}: the prompt takes {counts[-1]} tokens, and {room} of the model's "
                f"{scorer.max_length} are for the shots",
                f"{fit} of these shots fit: set num_shots={fit}."
                if fit > 0
                else "Not one of them fits: take zero_shot.",
            )


def _draw(task: Task, train: Sequence[Record], count: int, seed: int) -> list[Record]:
    """Labels in turn, each turn in a seeded order, until there are enough; open answers are all of one kind."""
    generator = np.random.Generator(np.random.Philox(seed))
    kinds = task.labels or ("",)
    pools = {
        kind: [train[at] for at in generator.permutation(len(train)) if not kind or task.truth(train[at]) == kind]
        for kind in kinds
    }
    drawn: list[Record] = []
    while len(drawn) < count and any(pools.values()):
        for number in generator.permutation(len(kinds)):
            pool = pools[kinds[number]]
            if pool and len(drawn) < count:
                drawn.append(pool.pop())
    if len(drawn) < count:
        raise ConfigError(f"method.num_shots={count} and only {len(drawn)} labelled training rows", "Use fewer shots.")
    return drawn


def _answer(task: Task, record: Record) -> str:
    """What a shot shows as the right answer."""
    answer = task.render(record, task.prompt).answer
    assert answer is not None, "a training row has an answer"
    return answer
