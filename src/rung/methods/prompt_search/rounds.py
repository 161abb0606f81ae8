"""Rounds of a search: the best prompts so far and new ones made of them are raced, and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rung.errors import ConfigError
from rung.methods.bench import Bench, SpentError
from rung.methods.prompt_search.candidates import Candidate
from rung.methods.prompt_search.proposers.base import Proposer, Scene
from rung.methods.prompt_search.race import Rules, Runner, leaders, race
from rung.methods.shots.selection import generator
from rung.types import Prompt, Record

_PATIENCE = 5
"""Rounds in a row without a prompt that was not tried before, after which there is nothing left to try."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a search begins with.

    Attributes:
        train: Rows to draw examples from.
        own: The first candidates.
        max_shots: Examples a prompt may show.
        room: Tokens a prompt may take without its text.
    """

    train: Sequence[Record]
    own: Sequence[Candidate]
    max_shots: int
    room: int


@dataclass(frozen=True, slots=True)
class Pace:
    """How a search goes on.

    Attributes:
        beam: Prompts that new ones are made of.
        width: New candidates a round.
        seed: Of all random choices.
        title: What it is called while it goes on.
    """

    beam: int
    width: int
    seed: int
    title: str = "prompt search"


class Rounds:
    """A search under way.

    Args:
        bench: Evaluates and counts.
        start: What it begins with.
        rules: How races are run.
        pace: How it goes on.
    """

    def __init__(self, bench: Bench, start: Start, rules: Rules, pace: Pace) -> None:
        self.bench = bench
        self.start = start
        self.rules = rules
        self.pace = pace
        self.seen: set[str] = set()
        self.raced: list[tuple[int, Runner]] = []
        """Every candidate with the round it came in, as its first race left it."""
        self.stopped = ""
        """Why the search ended."""

    def run(self, proposers: Sequence[Proposer]) -> Runner:
        """Search until the budget ends, or nothing new is proposed.

        Returns:
            The best prompt.

        Raises:
            ConfigError: The budget ends before any prompt was compared.
        """
        beam, ended = self._race(0, [], self.start.own)
        if not beam:
            raise ConfigError(
                f"method.budget ends before {len(self.start.own)} prompts have answered {self.rules.stages[0]} rows",
                "Raise the budget, or lower first_rows.",
            )
        number = idle = 0
        while not ended and idle < _PATIENCE:
            number += 1
            try:
                fresh = self._fresh(proposers[(number - 1) % len(proposers)], beam, number)
            except SpentError:
                ended = True
                break
            idle = 0 if fresh else idle + 1
            if fresh:
                before, (beam, ended) = beam, self._race(number, [one.candidate for one in beam], fresh)
                beam = _kept(before, beam)[: self.pace.beam] if ended else beam
                self.bench.tuning.say(
                    f"{self.pace.title}, round {number}: {len(fresh)} new prompts, best {beam[0].score:.3f} on "
                    f"{beam[0].rows} rows, {self.bench.spent.evaluations:,} evaluations"
                )
        self.stopped = "the budget ended" if ended else "nothing new was proposed"
        return beam[0]

    def _fresh(self, proposer: Proposer, beam: Sequence[Runner], number: int) -> list[Candidate]:
        scene = Scene(
            bench=self.bench,
            train=self.start.train,
            own=self.start.own,
            beam=beam,
            history=self._history(),
            max_shots=self.start.max_shots,
            room=self.start.room,
            chance=generator(self.pace.seed, number),
        )
        proposed = {one.key: one for one in proposer.propose(scene, self.pace.width)}
        return [one for key, one in proposed.items() if key not in self.seen]

    def _race(self, number: int, beam: Sequence[Candidate], fresh: Sequence[Candidate]) -> tuple[list[Runner], bool]:
        self.seen |= {one.key for one in fresh}
        runners, ended = race(self.bench, [*beam, *fresh], self.rules)
        self.raced += [(number, one) for one in runners[len(beam) :]]
        return leaders(runners, self.pace.beam), ended

    def _history(self) -> list[tuple[float, Prompt]]:
        """What was compared on all rows, worst first."""
        last = self.rules.stages[-1]
        whole = [(one.score, one.candidate.prompt) for _, one in self.raced if one.rows == last]
        return sorted(whole, key=lambda pair: pair[0])


def _kept(before: Sequence[Runner], after: Sequence[Runner]) -> list[Runner]:
    """A race that the budget cut short takes no prompt's place that was compared on more rows."""
    most = max(one.rows for one in before)
    if after and after[0].rows >= most:
        return list(after)
    known = {one.candidate.key for one in before}
    return [*before, *(one for one in after if one.candidate.key not in known)]
