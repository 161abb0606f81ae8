"""The order of shots, and how many: chosen by validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rung.methods.bench import Bench
from rung.methods.shots.selection import generator
from rung.types import Prompt


@dataclass(frozen=True, slots=True)
class Tried:
    """A prompt with its score on validation rows.

    Attributes:
        prompt: The prompt, calibrated if that was asked for.
        score: In the task's main metric; more is better.
        low: The lower end of its 95 % interval.
        high: The upper end.
        tokens: Tokens of an average prompt with its answer.
    """

    prompt: Prompt
    score: float
    low: float
    high: float
    tokens: float

    def numbers(self) -> dict[str, Any]:
        """As `search.json` holds them."""
        return {"score": self.score, "low": self.low, "high": self.high, "tokens": self.tokens}


def tried(bench: Bench, prompt: Prompt, calibration: bool) -> Tried:
    """Evaluate a prompt on all rows of the bench."""
    ready = bench.calibrated(prompt) if calibration else prompt
    rows = len(bench.records)
    score, low, high = bench.tuning.judge.interval(bench.records, bench.answers(ready, rows))
    tokens = sum(bench.scorer.count_tokens(record, ready) for record in bench.records) / rows
    return Tried(ready, score, low, high, tokens)


def best(found: Sequence[Tried]) -> int:
    """Which one scores best; the first of equals."""
    return max(range(len(found)), key=lambda at: (found[at].score, -at))


def orders(prompt: Prompt, trials: int, seed: int) -> list[tuple[list[int], Prompt]]:
    """The shots as they are, then in seeded orders, no order twice.

    Paper: Lu et al. 2021, "Fantastically Ordered Prompts and Where to Find Them", arXiv 2104.08786.
    """
    found: dict[tuple[int, ...], None] = {tuple(range(len(prompt.shots))): None}
    for trial in range(1, trials):
        found.setdefault(tuple(generator(seed, trial).permutation(len(prompt.shots)).tolist()))
    return [(list(one), replace(prompt, shots=tuple(prompt.shots[at] for at in one))) for one in found]
