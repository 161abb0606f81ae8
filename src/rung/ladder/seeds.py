"""Several seeds for one rung: which methods need them, where their runs lie, and what has become of them together."""

from __future__ import annotations

from collections.abc import Sequence

from rung.ladder.records import PlannedSeed, Status

_WITHOUT_CHANCE = frozenset({"majority", "tfidf", "zero_shot"})
"""Methods that give the same answers whatever the seed (tfidf's seed orders the steps of a convex problem)."""


def depends_on_seed(method: str) -> bool:
    """Whether another seed gives other answers, by the method's type."""
    return method not in _WITHOUT_CHANCE


def seed_folder(folder: str, seed: int) -> str:
    """The folder of one seed's run, within that of its rung."""
    return f"{folder}/seed-{seed}"


def together(seeds: Sequence[PlannedSeed]) -> tuple[Status, str]:
    """A rung's status and its reason, from those of its seeds.

    A seed that failed fails the rung: leaving it out would judge a method by its luckier runs. Seeds that are only
    missing (cut off by the budget, not run yet) leave a rung that is judged by the others, and says so.
    """
    finished = [one for one in seeds if one.status == "finished"]
    failed = [one for one in seeds if one.status == "failed"]
    said = f"{len(finished)} of {len(seeds)} seeds finished"
    if failed:
        return "failed", f"{said}; seed {failed[0].seed}: {failed[0].reason}"
    if len(finished) == len(seeds):
        return "finished", ""
    missing = next(one for one in seeds if one.status != "finished")
    return ("finished" if finished else missing.status), f"{said}; seed {missing.seed}: {missing.reason}"
