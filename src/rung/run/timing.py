"""Seconds of a run's parts, from a few of its own steps and answers; the weights are thrown away afterwards."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rung.data.split import Splits
from rung.engine.callbacks.history import History, restore
from rung.engine.callbacks.saving import Saving
from rung.engine.checkpoint import CheckpointStore
from rung.engine.loop import Progress, Schedule, train
from rung.engine.optim import Optimizer
from rung.engine.settings import TrainingConfig
from rung.engine.sources import DatasetSource
from rung.methods.adapted import Adapted
from rung.methods.base import WeightMethod
from rung.objectives.base import Objective
from rung.run.forecast import Forecast, arithmetic, load_of, saves, source_of, trains_body
from rung.run.score import (
    GOLDEN_GROUP,
    GOLDEN_ROWS,
    TIMED_REQUESTS,
    TIMED_WRITINGS,
    Answers,
    plain_metrics,
    spread,
)
from rung.run.train import Learning, compute_features
from rung.tasks.base import Task
from rung.types import Batch, Record, Row

_QUANTILES = (0.5, 0.5, 0.25, 0.5, 0.75, 1.0)
"""Which steps are made, by the tokens of their rows: two that warm up, then those that are timed, the heaviest last."""
_WARM_UP = 2
_CHEAP = (*_QUANTILES[:_WARM_UP], *(at / 19 for _ in range(2) for at in range(20)))
"""The same where a step takes a millisecond: nothing but the output layer on features, which some rows have twice."""
_READ = 64
"""Rows that are scored."""
_WRITTEN = 4
"""Rows for which an answer is written, which takes as long as the answer is."""
_BRIEF = 5
"""Times that a brief answer is timed: its median counts, many times over."""
_TOGETHER = 32
"""Rows whose answers are written side by side: as many as most prompts allow."""


@dataclass(slots=True)
class _Chosen:
    """Some steps of a run, as a source of their own."""

    source: DatasetSource
    numbers: Sequence[int]

    @property
    def steps_per_epoch(self) -> int:
        """Steps to be made."""
        return len(self.numbers)

    def step(self, number: int) -> list[Batch]:
        """The run's own micro-batches."""
        return self.source.step(self.numbers[number])


@dataclass(slots=True)
class _Watch:
    """Notes the seconds of each step."""

    seconds: list[float] = field(default_factory=list)

    def after_step(self, progress: Progress) -> None:
        """The seconds since the step before."""
        self.seconds.append(progress.seconds - sum(self.seconds))


@dataclass(frozen=True, slots=True)
class Training:
    """What is timed: an adapted model, its method and objective, its rows, settings and peak learning rate."""

    adapted: Adapted
    method: WeightMethod
    objective: Objective
    rows: Sequence[Row]
    settings: TrainingConfig
    peak: float


def training_seconds(what: Training, found: Forecast, folder: Path) -> dict[str, float]:
    """Seconds of features, steps and checkpoints over the whole run.

    Args:
        what: What is trained.
        found: The run's forecast.
        folder: An existing folder on the disk that checkpoints will go to.

    Returns:
        `features`, `step` (one), `training` (all steps) and `saving`.
    """
    source = source_of(what.rows, what.settings)
    adapted, body = what.adapted, trains_body(what.adapted)
    chosen = _Chosen(source, representative(source, _QUANTILES if body else _CHEAP))
    features = _features_seconds(what, source, chosen.numbers, found.tokens)
    optimizer = Optimizer(adapted.trainable, what.settings.optimizer(what.peak), adapted.precise, adapted.rates)
    schedule = Schedule(what.peak, len(chosen.numbers), 0, "constant", what.settings.max_grad_norm, what.settings.seed)
    compile = what.settings.torch_compile is True
    learning = Learning(what.adapted, what.objective, what.settings.model_dropout, compile)
    watch = _Watch()
    with tempfile.TemporaryDirectory(prefix=".rung-probe-", dir=folder) as place:
        # A run writes a line after each step, after which the next one finds less of its own in the caches.
        log, progress = Path(place) / "history.jsonl", Progress()
        restore(log, progress)
        history = History(log, source.steps_per_epoch, progress)
        train(learning, chosen, optimizer, schedule, progress, [watch, history])
    loads = [_load(what, source, number) if body else 1.0 for number in chosen.numbers]
    rates = [seconds / load for seconds, load in zip(watch.seconds, loads, strict=True)]
    rate = statistics.median(rates[_WARM_UP:]) if body else statistics.fmean(rates[_WARM_UP:])
    whole = rate * (found.flops if body else found.steps)
    if body:  # a run's own first steps are as slow as these: kernels are made, memory is taken
        begun = sum(seconds - rate * load for seconds, load in zip(watch.seconds[:_WARM_UP], loads, strict=False))
        whole += max(0.0, begun)
    saving = _saving_seconds(optimizer, progress, folder) * saves(what.settings, found.steps, source.steps_per_epoch)
    return {"features": features, "step": whole / found.steps, "training": whole, "saving": saving}


def _features_seconds(what: Training, source: DatasetSource, numbers: Sequence[int], tokens: int) -> float:
    """Seconds of the features of all rows, from those of some steps; the first call takes longer, once.

    What is computed last is what the steps read.
    """
    steps = [[row for batch in source.step(number) for row in batch.rows] for number in numbers]
    taken = []
    for rows in (steps[0], list({row.id: row for step in steps for row in step}.values())):
        taken.append((_seconds(partial(compute_features, what.adapted, what.objective, rows)), _tokens(rows)))
    (first, few), (second, many) = taken
    rate = second / many
    return rate * tokens + max(0.0, first - rate * few)


def _load(what: Training, source: DatasetSource, number: int) -> float:
    """Arithmetic of a step. Seconds follow it: rows of other lengths, beginnings shared by more or fewer of them."""
    return sum(arithmetic(what.adapted, what.method, load_of(what.adapted, one)) for one in source.step(number))


def representative(source: DatasetSource, quantiles: Sequence[float] = _QUANTILES) -> list[int]:
    """Steps of the first pass at some quantiles of their rows' tokens, the heaviest last."""
    order = sorted(range(source.steps_per_epoch), key=lambda step: sum(map(source.tokens, source.indices(step))))
    return [order[round(quantile * (len(order) - 1))] for quantile in quantiles]


def answering_seconds(answers: Answers, task: Task, splits: Splits, times: int, written: int) -> dict[str, float]:
    """Seconds of scoring and answering over the whole run.

    Args:
        answers: The model under its prompt.
        task: The task.
        splits: The rows.
        times: How often the validation rows are scored.
        written: Answers that each of these scorings but the last, of rows learned from, has written.

    Returns:
        `validation` (all scorings), `test` and `requests` (timed requests and golden rows).
    """
    validation, test = splits.validation, splits.test
    first, again = (_scored(task, answers, validation) for _ in range(2))
    writes = answers.likelihoods is not None
    asked = spread(test, _WRITTEN if writes else 2 * _READ)
    ready = 0 if writes else len(asked) // 2  # the first call takes longer, once
    once = _seconds(partial(answers.predict, asked[:ready]))
    some = _seconds(partial(answers.predict, asked[ready:]))
    calls = (partial(answers.predict, asked[:1]), partial(answers.golden or answers.predict, asked[:GOLDEN_GROUP]))
    repeats = 1 if writes else _BRIEF
    single, group = (statistics.median(_seconds(call) for _ in range(repeats)) for call in calls)
    of = _Answering.found(some, single if writes else None, len(asked) - ready)
    seconds = {"validation": first + (times - 1) * again, "test": once + of.seconds(len(test) - ready)}
    if writes:
        seconds["validation"] += (times - 1) * of.seconds(written)
        seconds["test"] += _scored(task, answers, test)
        if task.main_metric != "loss":  # runs are compared by answers to all validation rows
            seconds["validation"] += of.seconds(len(validation))
    alone = min((TIMED_WRITINGS if writes else TIMED_REQUESTS) + 2, len(test))
    groups = math.ceil(min(GOLDEN_ROWS, len(test)) / GOLDEN_GROUP)
    return {**seconds, "requests": single * alone + group * groups}


@dataclass(frozen=True, slots=True)
class _Answering:
    """Seconds that rows answered side by side take together, whatever their number, and that each takes besides."""

    together: float
    each: float

    @classmethod
    def found(cls, some: float, single: float | None, rows: int) -> _Answering:
        """From the seconds of some rows and of a single one; None for that = rows share nothing."""
        if single is None or rows == 1:
            return cls(0.0, some / rows)
        each = max(0.0, (some - single) / (rows - 1))
        return cls(some - each * rows, each)

    def seconds(self, rows: int) -> float:
        """Seconds of rows answered in one call."""
        return self.together * math.ceil(rows / _TOGETHER) + self.each * rows


def _scored(task: Task, answers: Answers, records: Sequence[Record]) -> float:
    """Seconds of scoring all records, from some."""
    sample = spread(records, _READ)
    return _seconds(partial(plain_metrics, task, sample, answers)) * len(records) / len(sample)


def _saving_seconds(optimizer: Optimizer, progress: Progress, folder: Path) -> float:
    with tempfile.TemporaryDirectory(prefix=".rung-probe-", dir=folder) as place:
        store = CheckpointStore(Path(place) / "checkpoints", "probe", "probe")
        return _seconds(lambda: store.save(Saving(store, optimizer, 1, 1).snapshot(progress, False)))


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _tokens(rows: Sequence[Row]) -> int:
    return sum(sequence.size for row in rows for sequence in row.sequences)
