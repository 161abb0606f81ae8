"""A race of prompts: all answer a few rows, those that can't win any more leave, the others answer more rows.

The rows of a stage hold those of the stage before, so that nothing is evaluated twice. After each stage all that are
left are compared with the best of them, in the task's main metric, on the same rows. A prompt leaves when the upper
bound of its difference to the best is below 0. The bounds of a stage hold together, and the stages share the risk: the
prompt that is best on all rows like these leaves with a chance of at most 1 - `confidence`, as far as a bootstrap
holds. After Maron & Moore 1997 (Hoeffding races, https://doi.org/10.1023/A:1006556606079), with paired bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rung.methods.bench import Bench, SpentError
from rung.methods.prompt_search.candidates import Candidate
from rung.types import Prompt


@dataclass(slots=True)
class Runner:
    """A candidate in a race.

    Attributes:
        candidate: The candidate.
        rows: Rows it answered when it was last compared.
        score: Its score there; more is better.
        answers: Its answers there.
        ready: The prompt as evaluated, calibrated if that was asked for.
        dropped: The bound below 0 for which it left, or None.
    """

    candidate: Candidate
    rows: int = 0
    score: float = float("-inf")
    answers: list[Any] = field(default_factory=list)
    ready: Prompt | None = None
    dropped: float | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """How a race is run.

    Attributes:
        stages: Rows of each stage, each more than the last.
        confidence: Chance that the best prompt is still there at the end.
        calibration: Whether prompts are calibrated before they answer.
    """

    stages: tuple[int, ...]
    confidence: float
    calibration: bool


def stages(rows: int, first: int) -> tuple[int, ...]:
    """`first` rows, twice as many, and so on; at last all."""
    found: list[int] = []
    size = first
    while size < rows:
        found.append(size)
        size *= 2
    return (*found, rows)


def race(bench: Bench, entrants: Sequence[Candidate], rules: Rules) -> tuple[list[Runner], bool]:
    """Run a race.

    Args:
        bench: Evaluates.
        entrants: The candidates; of equals the first one wins.
        rules: How it is run.

    Returns:
        A runner per candidate, in their order, and whether the budget ended the race. A stage that could not be
        finished for all does not count.
    """
    runners = [Runner(one) for one in entrants]
    level = 1 - (1 - rules.confidence) / len(rules.stages)
    for rows in rules.stages:
        left = [one for one in runners if one.dropped is None]
        try:
            answers = [_answered(bench, one, rows, rules.calibration) for one in left]
        except SpentError:
            return runners, True
        ranking = bench.tuning.judge.rank(bench.records[:rows], answers, level)
        for number, one in enumerate(left):
            one.rows, one.score, one.answers = rows, ranking.scores[number], answers[number]
            if ranking.ceilings[number] < 0:
                one.dropped = ranking.ceilings[number]
    return runners, False


def leaders(runners: Sequence[Runner], count: int) -> list[Runner]:
    """The best of those that were compared on the most rows, best first; of equals the first."""
    left = [one for one in runners if one.dropped is None and one.rows > 0]
    order = sorted(range(len(left)), key=lambda at: (-left[at].rows, -left[at].score, at))
    return [left[at] for at in order[:count]]


def _answered(bench: Bench, runner: Runner, rows: int, calibration: bool) -> list[Any]:
    if runner.ready is None:
        prompt = runner.candidate.prompt
        runner.ready = bench.calibrated(prompt) if calibration else prompt
    return bench.answers(runner.ready, rows)
