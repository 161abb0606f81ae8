"""Which training rows become shots: one function per choice.

Each gives its rows in an order whose beginnings are choices too, so that fewer shots are the first of more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from rung.compute.embedding import text_encoder
from rung.errors import ConfigError
from rung.tasks.base import Task
from rung.types import Record, Shot

Selection = Literal["balanced", "random", "nearest", "diverse"]

LARGEST = 2_000
"""Training rows whose embeddings are compared with each other, or form a pool: more are sampled."""


def select(kind: Selection, task: Task, train: Sequence[Record], count: int, seed: int, encoder: str) -> list[Record]:
    """The rows of a prompt whose shots are the same for all requests.

    Raises:
        ConfigError: There are fewer labelled rows than shots.
    """
    if kind == "balanced":
        drawn = balanced(task, train, count, seed)
    elif kind == "diverse":
        drawn = diverse(task, train, count, seed, encoder)
    else:
        drawn = sampled(task, train, count, seed)
    if len(drawn) < count:
        raise ConfigError(f"method.num_shots={count} and only {len(drawn)} labelled training rows", "Use fewer shots.")
    return drawn


def sampled(task: Task, train: Sequence[Record], count: int, seed: int) -> list[Record]:
    """Rows at random."""
    found: list[Record] = []
    for at in generator(seed).permutation(len(train)):
        if len(found) == count:
            break
        record = train[int(at)]
        if task.truth(record) is not None:
            found.append(record)
    return found


def balanced(task: Task, train: Sequence[Record], count: int, seed: int) -> list[Record]:
    """Labels in turn, each turn in a seeded order, until there are enough; open answers are all of one kind."""
    chance = generator(seed)
    kinds = task.labels or ("",)
    pools = {
        kind: [train[at] for at in chance.permutation(len(train)) if not kind or task.truth(train[at]) == kind]
        for kind in kinds
    }
    drawn: list[Record] = []
    while len(drawn) < count and any(pools.values()):
        for number in chance.permutation(len(kinds)):
            pool = pools[kinds[number]]
            if pool and len(drawn) < count:
                drawn.append(pool.pop())
    return drawn


def diverse(task: Task, train: Sequence[Record], count: int, seed: int, encoder: str) -> list[Record]:
    """Rows that together stand for all: each one adds most to how like every row is to its nearest chosen one.

    Labels come first: a row is of a label that has as few as any, for a model answers with what its shots name most.

    Greedy facility location (Lin & Bilmes 2011, "A Class of Submodular Functions for Document Summarization"), as the
    choice of annotated examples in Su et al. 2022, arXiv 2209.01975. Outliers, which a farthest-point rule would
    take, stand for nobody.
    """
    rows = sampled(task, train, LARGEST, seed)
    vectors = text_encoder(encoder).embed([task.asked(record.fields) for record in rows])
    likeness = (vectors @ vectors.T).astype(np.float64)
    covered = np.full(len(rows), -1.0)
    kind = np.unique([str(task.truth(row)) if task.labels else "" for row in rows], return_inverse=True)[1]
    free, taken = np.ones(len(rows), dtype=bool), np.zeros(len(rows), dtype=np.int64)
    chosen: list[int] = []
    while len(chosen) < min(count, len(rows)):
        able = free & (taken[kind] == taken[kind[free]].min())
        gain = np.maximum(likeness - covered[:, None], 0.0).sum(axis=0)
        best = int(np.where(able, gain, -1.0).argmax())
        chosen.append(best)
        free[best] = False
        taken[kind[best]] += 1
        covered = np.maximum(covered, likeness[:, best])
    return [rows[at] for at in chosen]


def solved(task: Task, record: Record) -> Shot:
    """A training row as a shot."""
    answer = task.render(record, task.prompt).answer
    assert answer is not None, "a training row has an answer"
    return Shot(dict(record.fields), answer)


def generator(*seeds: int) -> np.random.Generator:
    """Random choices that depend on the seeds alone."""
    return np.random.Generator(np.random.Philox(seeds[0] if len(seeds) == 1 else np.random.SeedSequence(seeds)))
