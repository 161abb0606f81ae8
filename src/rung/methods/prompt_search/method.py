"""Prompt search: the user's own prompts are raced, then new ones are proposed and raced until the budget ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rung.errors import ConfigError, IncompatibleError
from rung.methods.base import PromptMethod, Scorer
from rung.methods.bench import BLOCK, Bench, Limits
from rung.methods.calibration import FILLERS, calibrated
from rung.methods.few_shot import LONGEST_SHARE
from rung.methods.prompt_search.budget import Budget
from rung.methods.prompt_search.candidates import Candidate, own_prompts, read_text
from rung.methods.prompt_search.proposers.chance import Chance
from rung.methods.prompt_search.proposers.edit import Edit
from rung.methods.prompt_search.proposers.union import AnyProposer
from rung.methods.prompt_search.race import Rules, Runner, stages
from rung.methods.prompt_search.rounds import Pace, Rounds, Start
from rung.methods.shots.selection import balanced, solved
from rung.methods.tuning import Tuning
from rung.tasks.base import Task
from rung.types import Prompt, Record


class PromptSearch(PromptMethod):
    """Search for an instruction and examples, comparing candidates on validation rows."""

    type: Literal["prompt_search"] = "prompt_search"
    prompts: tuple[str, ...] = ()
    """The user's own prompts: files, or texts with a place for what is read, such as `Spam?\\n\\n{{ text }}`."""
    proposers: tuple[AnyProposer, ...] = Field(default=(Edit(),), min_length=1)
    """Where new candidates come from, in turn: `edit`, `rewrite`, `reflect`, `gradient`."""
    budget: Budget = Budget(evaluations=2000)
    """How much the search may spend."""
    max_shots: int = Field(default=4, ge=0)
    """Examples a prompt may show; 0 = the search is over instructions alone."""
    beam: int = Field(default=4, ge=1)
    """Prompts that new ones are made of."""
    width: int = Field(default=6, ge=1)
    """New candidates a round."""
    first_rows: int = Field(default=BLOCK, ge=8)
    """Validation rows of a race's first stage; each stage doubles them."""
    max_validation_rows: int = Field(default=256, ge=8)
    """Validation rows of a race's last stage at most."""
    confidence: float = Field(default=0.9, gt=0.5, lt=1)
    """Chance that a race keeps the prompt that is really best."""
    calibration: bool = True
    """Contextual calibration of every candidate (Zhao et al. 2021)."""
    chat_template: bool = True
    """Whether turns are written in the model's own chat template; False = as plain text."""
    baseline: bool = True
    """Whether candidates by chance get the same number of evaluations, as what the search must beat."""

    @field_validator("prompts")
    @classmethod
    def _read(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(read_text(f"prompts[{number}]", given) for number, given in enumerate(prompts))

    @model_validator(mode="after")
    def _starts(self) -> Self:
        least = self.first_rows + len(FILLERS) * self.calibration
        most = self.budget.evaluations
        if most is not None and most < least * (1 + len(self.prompts)):
            raise ValueError(
                f"budget.evaluations={most} does not let {1 + len(self.prompts)} prompts answer first_rows="
                f"{self.first_rows} rows once: at least {least * (1 + len(self.prompts))} are needed"
            )
        return self

    def check(self, model_kind: str, task: str) -> None:
        """An encoder has no way to read an instruction; an endpoint gives no gradient."""
        super().check(model_kind, task)
        if model_kind == "encoder_decoder":
            raise IncompatibleError(
                "method=prompt_search has instructions written in a chat and changed by a decoder's gradient, and an "
                "encoder-decoder has neither",
                "Use zero_shot with instructions of your own, or a decoder.",
            )
        for proposer in self.proposers:
            proposer.check(model_kind)

    def fit(
        self, scorer: Scorer, task: Task, train: Sequence[Record], seed: int, tuning: Tuning | None = None
    ) -> Prompt:
        """The best prompt found; without tuning the task's own.

        Raises:
            ConfigError: One of the user's prompts does not fit, or the budget ends before any prompt was compared.
        """
        if tuning is None:
            plain = replace(task.prompt, chat_template=self.chat_template)
            return calibrated(scorer, task, plain, train[0]) if self.calibration and task.labels else plain
        rounds = self._rounds(scorer, task, train, seed, tuning, self.budget.limits())
        winner = rounds.run(self.proposers)
        assert winner.ready is not None
        tuning.found |= {
            "method": "prompt_search",
            "seed": seed,
            "rows": len(rounds.bench.records),
            "budget": self.budget.model_dump(mode="json", exclude_none=True),
            "stopped": rounds.stopped,
            "spent": asdict(rounds.bench.spent),
            "prompts": self._own(rounds),
            "winner": _told(winner, 0, tuning, rounds.bench),
            "tried": [_line(one, number) for number, one in rounds.raced],
        }
        return winner.ready

    def rivals(
        self, scorer: Scorer, task: Task, train: Sequence[Record], seed: int, tuning: Tuning
    ) -> Mapping[str, Prompt]:
        """The task's own prompt, and the best by chance or by hand at as many evaluations as the search took."""
        plain = self._plain(task)
        bench = Bench(scorer, task, tuning, seed, self.max_validation_rows)
        found = {"plain": bench.calibrated(plain) if self.calibration else plain}
        if not self.baseline:
            return found
        limits = Limits(evaluations=int(tuning.found["spent"]["evaluations"]))
        rounds = self._rounds(scorer, task, train, seed, tuning, limits)
        rounds.pace = replace(rounds.pace, title="prompts by chance")
        winner = rounds.run((Chance(),))
        assert winner.ready is not None
        tuning.found["baseline"] = {
            "candidates": len(rounds.seen),
            "spent": asdict(rounds.bench.spent),
            "winner": _line(winner, 0),
        }
        return {**found, "chance": winner.ready}

    def _rounds(
        self, scorer: Scorer, task: Task, train: Sequence[Record], seed: int, tuning: Tuning, limits: Limits
    ) -> Rounds:
        bench = Bench(scorer, task, tuning, seed, self.max_validation_rows, limits)
        room = int(scorer.max_length * LONGEST_SHARE)
        rules = Rules(stages(len(bench.records), self.first_rows), self.confidence, self.calibration)
        start = Start(train, self._first(task, train, seed, scorer, room), self.max_shots, room)
        return Rounds(bench, start, rules, Pace(self.beam, self.width, seed))

    def _plain(self, task: Task) -> Prompt:
        return replace(task.prompt, chat_template=self.chat_template)

    def _first(
        self, task: Task, train: Sequence[Record], seed: int, scorer: Scorer, room: int
    ) -> tuple[Candidate, ...]:
        """The task's own prompt, the user's, and, where examples may be shown, the first with as many as fit."""
        plain = self._plain(task)
        texts = own_prompts(task, self.prompts, tuple(train[0].fields), self.chat_template)
        found = [Candidate(plain, "plain")]
        found += [Candidate(prompt, f"prompts[{number}]") for number, prompt in enumerate(texts)]
        bare = task.content_free(train[0], "")
        for one in found:
            tokens = scorer.count_tokens(bare, one.prompt)
            if tokens > room:
                raise ConfigError(
                    f"method.{one.origin}: the prompt takes {tokens} tokens without its text, and {room} of the "
                    f"model's {scorer.max_length} are for it",
                    "Shorten it.",
                )
        shots = tuple(solved(task, record) for record in balanced(task, train, self.max_shots, seed))
        while shots and scorer.count_tokens(bare, replace(plain, shots=shots)) > room:
            shots = shots[:-1]
        if shots:
            found.append(Candidate(replace(plain, shots=shots), f"{len(shots)} shots"))
        return tuple({one.key: one for one in reversed(found)}.values())[::-1]

    def _own(self, rounds: Rounds) -> list[dict[str, Any]]:
        """The candidates that the search began with, as the race left them."""
        count = len(rounds.start.own)
        return [_told(one, number, rounds.bench.tuning, rounds.bench) for number, one in rounds.raced[:count]]


def _line(runner: Runner, number: int) -> dict[str, Any]:
    """A candidate as `search.json` lists it."""
    prompt = runner.candidate.prompt
    return {
        "key": runner.candidate.key,
        "origin": runner.candidate.origin,
        "parent": runner.candidate.parent,
        "round": number,
        "instruction": prompt.instruction,
        "shots": len(prompt.shots),
        "rows": runner.rows,
        "score": runner.score if runner.rows else None,
        "dropped": runner.dropped,
    }


def _told(runner: Runner, number: int, tuning: Tuning, bench: Bench) -> dict[str, Any]:
    """A candidate with the interval of its score on validation rows."""
    if not runner.rows:
        return _line(runner, number)
    _, low, high = tuning.judge.interval(bench.records[: runner.rows], runner.answers)
    return {**_line(runner, number), "low": low, "high": high}
