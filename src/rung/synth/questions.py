"""A round of questions and answers about passages of the user's documents."""

from __future__ import annotations

import random
from collections.abc import Sequence

from rung.data.lexical import WORD
from rung.synth import documents
from rung.synth.asking import Desk
from rung.synth.documents import Passage
from rung.synth.filters import supported, wrong_instruction
from rung.synth.instructions import generation_seed
from rung.synth.outcome import Outcome
from rung.synth.settings import SynthConfig


class Questions:
    """Rounds over the passages, in a seeded order; once all had their turn they come again, and are asked otherwise.

    Args:
        config: The settings.
        passages: The documents' passages.
        desk: Has requests answered.
        outcome: Where proposals go.
    """

    def __init__(self, config: SynthConfig, passages: Sequence[Passage], desk: Desk, outcome: Outcome) -> None:
        self._config = config
        self._passages = random.Random(config.seed).sample(list(passages), len(passages))
        self._desk = desk
        self._outcome = outcome

    def round(self, number: int) -> None:
        """Round `number`, from 1.

        Raises:
            SpentError: The budget allows no further batch.
        """
        config, style = self._config, self._desk.model.style
        size = min(config.requests_per_round, len(self._passages))
        places = range((number - 1) * size, number * size)
        chosen = [self._passages[place % len(self._passages)] for place in places]
        asks = [
            documents.ask(
                passage,
                style,
                (generation_seed(config, "question", place), config.temperature, config.max_new_tokens),
            )
            for place, passage in zip(places, chosen, strict=True)
        ]
        filled = []
        for asked, passage, answer in zip(asks, chosen, self._desk.answers(asks), strict=True):
            found = documents.pair(answer, style)
            origin = {
                "model": config.model, "round": number, "passage": passage.id, "source": passage.source,
                "prompt": asked.digest, "generation_seed": asked.seed,
            }  # fmt: skip
            one = self._outcome.propose(found[0] if found else answer.text.strip(), origin)
            if found is None or not answer.finished:
                self._outcome.reject(one, "unfinished" if not answer.finished else "empty")
                continue
            one.input, one.output = passage.text, found[1]
            reason = wrong_instruction(one.instruction, config.filters)
            like = None if reason else self._outcome.pool.like(one.instruction)
            if not reason and not like and not supported(one.output, passage.text, config.filters.least_support):
                reason = "unsupported" if WORD.search(one.output) else "no_output"
            if reason or like:
                self._outcome.reject(one, reason or "similar", like)
            else:
                filled.append(one)
        self._outcome.settle(filled)
