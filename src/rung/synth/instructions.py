"""A round of self-instruct: propose, classify, fill in, settle."""

from __future__ import annotations

import random
from collections.abc import Sequence

from rung.data.content import digest
from rung.synth import instances, propose
from rung.synth.asking import Desk, SpentError
from rung.synth.filters import from_prompt, wrong_instruction
from rung.synth.outcome import Outcome, Proposal
from rung.synth.propose import Shown
from rung.synth.seeds import SeedTask
from rung.synth.settings import SynthConfig
from rung.synth.similar import Pool


def generation_seed(config: SynthConfig, *place: object) -> int:
    """The seed of one request: of the run's seed, and of the request's place in it."""
    return int(digest("/".join(map(str, (config.seed, *place))))[:8], 16)


class Instructions:
    """Rounds of new instructions, from seeds and from what was accepted before.

    Args:
        config: The settings.
        seeds: The seed tasks.
        desk: Has requests answered.
        outcome: Where proposals go.
    """

    def __init__(self, config: SynthConfig, seeds: Sequence[SeedTask], desk: Desk, outcome: Outcome) -> None:
        self._config = config
        self._seeds = seeds
        self._shown = [Shown(one.id, one.instruction) for one in seeds]
        self._desk = desk
        self._outcome = outcome
        # Seeds that don't say what they are can't show how it is told.
        self._tells_kinds = len({one.is_classification for one in seeds} & {True, False}) == 2
        for one in seeds:
            outcome.pool.add(one.instruction)

    def round(self, number: int) -> None:
        """Round `number`, from 1.

        Raises:
            SpentError: The budget allows no further batch.
        """
        pending = self._proposed(number)
        try:
            self._fill(pending, self._kinds(pending))
        except SpentError:
            for one in pending:
                self._outcome.reject(one, "unasked")
            raise

    def _proposed(self, number: int) -> list[Proposal]:
        """The round's instructions that no filter objects to."""
        config, style = self._config, self._desk.model.style
        own = [Shown(one.id, one.instruction) for one in self._outcome.accepted]
        asks, shown = [], []
        for request in range(config.requests_per_round):
            seed = generation_seed(config, "propose", number, request)
            shown.append(propose.shots(self._shown, own, random.Random(seed)))
            drawing = (seed, config.temperature, config.max_new_tokens)
            asks.append(propose.ask(shown[-1], config.tasks_per_request, style, drawing))
        found: list[Proposal] = []
        fresh = Pool(config.filters.similarity)
        for asked, tasks, answer in zip(asks, shown, self._desk.answers(asks), strict=True):
            origin = {
                "model": config.model, "round": number, "seeds": [one.id for one in tasks], "prompt": asked.digest,
                "generation_seed": asked.seed,
            }  # fmt: skip
            items = propose.proposed(answer, len(tasks), config.tasks_per_request, style)
            if not items:
                self._outcome.reject(self._outcome.propose(answer.text.strip(), dict(origin)), "empty")
            for text, whole in items:
                one = self._outcome.propose(text, dict(origin))
                if self._passes(one, whole, fresh):
                    fresh.add(text)
                    found.append(one)
        return found

    def _passes(self, one: Proposal, whole: bool, fresh: Pool) -> bool:
        reason = wrong_instruction(one.instruction, self._config.filters) if whole else "unfinished"
        like = None if reason else self._outcome.pool.like(one.instruction) or fresh.like(one.instruction)
        if reason or like:
            self._outcome.reject(one, reason or "similar", like)
            return False
        return True

    def _kinds(self, pending: Sequence[Proposal]) -> list[bool]:
        """Whether each instruction is a classification."""
        if not self._tells_kinds:
            return [False] * len(pending)
        style = self._desk.model.style
        asked = [instances.ask_kind(self._seeds, one.instruction, style, self._seed_of(one, "kind")) for one in pending]
        return [instances.is_classification(answer) for answer in self._desk.answers([ask for ask, _ in asked])]

    def _fill(self, pending: Sequence[Proposal], output_first: Sequence[bool]) -> None:
        config, style = self._config, self._desk.model.style
        asked = [
            instances.ask_instance(
                self._seeds,
                one.instruction,
                first,
                style,
                (self._seed_of(one, "instance"), config.answer_temperature, config.max_new_tokens),
            )
            for one, first in zip(pending, output_first, strict=True)
        ]
        answers = self._desk.answers([ask for ask, _ in asked])
        filled: list[Proposal] = []
        for one, (ask, shown), answer, first in zip(pending, asked, answers, output_first, strict=True):
            one.provenance["instance"] = {
                "seeds": shown, "prompt": ask.digest, "generation_seed": ask.seed, "output_first": first,
            }  # fmt: skip
            found = instances.instance(answer, first, style)
            if found is None or not answer.finished:
                self._outcome.reject(one, "unfinished" if not answer.finished else "no_output")
                continue
            one.input, one.output = found
            if from_prompt(*found, [(task.input, task.output) for task in self._seeds if task.id in shown]):
                self._outcome.reject(one, "from_prompt")
                continue
            filled.append(one)
        self._outcome.settle(filled)

    def _seed_of(self, one: Proposal, kind: str) -> int:
        return generation_seed(self._config, kind, one.provenance["round"], digest(one.instruction))
