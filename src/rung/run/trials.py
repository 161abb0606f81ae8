"""Short trainings at one learning rate after another: the model is loaded once, and each starts where the first did."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch

from rung.data.load import LoadedData
from rung.engine.finite import NotFiniteError
from rung.engine.loop import Hook, Progress, Schedule, train
from rung.engine.optim import Optimizer
from rung.engine.schedule import warmup_count
from rung.evaluate.generating import predictor_for
from rung.methods.adapted import Adapted
from rung.methods.base import WeightMethod
from rung.models.facts import ModelFacts
from rung.objectives.base import Objective
from rung.run.config import RunConfig, objective_for
from rung.run.expected import settle_memory
from rung.run.forecast import source_of
from rung.run.memory_model import require_room_for_weights
from rung.run.prepare import adapt
from rung.run.rates import SearchSettings, Trial
from rung.run.start import open_model
from rung.run.supervision import require_supervision
from rung.run.train import Learning, compute_features, settled
from rung.tasks.base import Task
from rung.types import Batch, Record, Row

GiveUp = Callable[[int, float], bool]
"""Whether a trial with this validation loss at this step is not worth going on with."""


class Trials:
    """A run's model, rows and settings, for one short training after another.

    Args:
        config: The run's settings.
        facts: What is known of its model.
        choices: The machine's (see `prepare.execution`).
        data: Its rows.
        task: Its task, settled on them.
        search: How long a trial is.

    Attributes:
        steps: Optimizer steps of a trial.
        judging: Validation rows that judge it.
        seed: The run's seed.

    Raises:
        RungError: The run itself could not be trained.
    """

    def __init__(
        self,
        config: RunConfig,
        facts: ModelFacts,
        choices: Mapping[str, object],
        data: LoadedData,
        task: Task,
        search: SearchSettings,
    ) -> None:
        method = config.method
        assert isinstance(method, WeightMethod) and config.model is not None and facts.path is not None
        require_room_for_weights(facts.path, choices)
        opened = open_model(config.model, choices, method.trains_model)
        objective = objective_for(config, facts.kind)
        assert objective is not None
        self._adapted = adapt(method, opened, task, objective, config.training.seed)
        longest = int(str(choices["max_length"]))
        predictor = predictor_for(self._adapted, opened.loaded.tokenizer, task, objective, longest)
        rows = predictor.rows(data.splits.train, task.prompt)
        sources = {record.id: record.source for record in data.splits.train}
        require_supervision(objective, rows, opened.loaded.tokenizer, sources)
        self._settings, peak = settled(config.training, method, facts.kind)
        settle_memory(self._adapted, method, rows, self._settings, facts.path, lambda _: None)
        self._source = source_of(rows, self._settings)
        self.steps = search.steps(self._settings.total_steps(self._source.steps_per_epoch))
        judging = _some(data.splits.validation, search.validation_rows, self._settings.seed)
        held = predictor.rows(judging, task.prompt)
        self._held = _batches(held, self._settings.per_device_train_batch_size)
        self.judging, self.seed, self._halves = len(judging), self._settings.seed, search.prune
        self._objective = objective
        compute_features(self._adapted, objective, rows)
        self._optimizer = Optimizer(
            self._adapted.trainable, self._settings.optimizer(peak), self._adapted.precise, self._adapted.rates
        )
        self._start = {name: value.clone() for name, value in self._optimizer.master().items()}

    def run(self, rate: float, give_up: GiveUp, watch: Callable[[int], Hook]) -> Trial:
        """Train at a rate and score the end.

        Args:
            rate: The peak learning rate.
            give_up: Asked at the half, where that is scored too.
            watch: Given the steps, a hook that shows progress.

        Returns:
            What came of it.
        """
        began = time.perf_counter()
        self._optimizer.load_master(self._start)
        self._optimizer.load_state({})
        self._optimizer.zero_grad()
        settings, total = self._settings, self.steps
        warmup = warmup_count(settings.warmup_steps, total)
        schedule = Schedule(rate, total, warmup, settings.lr_scheduler_type, settings.max_grad_norm, settings.seed)
        learning = Learning(self._adapted, self._objective, settings.model_dropout)
        scored = _Scored(self.loss, (math.ceil(total / 2), total) if self._halves else (total,), give_up)
        try:
            train(learning, self._source, self._optimizer, schedule, Progress(), [scored, watch(total)])
        except NotFiniteError:
            scored.status = "diverged"
        return scored.trial(rate, settings.load_best_model_at_end, time.perf_counter() - began)

    def loss(self) -> float:
        """The objective's loss of the validation rows at the current weights: each term a mean over all of them."""
        return validation_loss(self._adapted, self._objective, self._held)


def validation_loss(adapted: Adapted, objective: Objective, batches: Sequence[Batch]) -> float:
    """The objective's loss of rows as it is learned: each term divided once, by its count over all rows."""
    adapted.evaluating()
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    with torch.no_grad():
        for batch in batches:
            for name, term in objective.loss(adapted, batch).terms.items():
                sums[name] = sums.get(name, 0.0) + term.weight * float(term.sum)
                counts[name] = counts.get(name, 0) + term.count
    return sum(total / max(counts[name], 1) for name, total in sums.items())


class _Scored:
    """A hook that scores a trial when due."""

    def __init__(self, score: Callable[[], float], due: Sequence[int], give_up: GiveUp) -> None:
        self._score = score
        self._due = due
        self._give_up = give_up
        self.losses: dict[int, float] = {}
        self.status: Literal["finished", "pruned", "diverged"] = "finished"

    def after_step(self, progress: Progress) -> None:
        """Score when due; a trial without hope ends."""
        if progress.step not in self._due:
            return
        loss = self._score()
        if not math.isfinite(loss):
            self.status = "diverged"
        else:
            self.losses[progress.step] = loss
            if progress.step < self._due[-1] and self._give_up(progress.step, loss):
                self.status = "pruned"
        progress.stop = self.status != "finished"

    def trial(self, rate: float, best: bool, seconds: float) -> Trial:
        """What came of it; judged as the run is: by its best scoring, or by its last."""
        loss = None
        if self.status == "finished":
            loss = min(self.losses.values()) if best else self.losses[self._due[-1]]
        return Trial(rate, self.status, self.losses, loss, seconds)


def _some(records: Sequence[Record], most: int, seed: int) -> Sequence[Record]:
    """At most so many of the records, drawn at random (a file may be sorted by label), in their order."""
    if len(records) <= most:
        return records
    return [records[at] for at in sorted(random.Random(seed).sample(range(len(records)), most))]


def _batches(rows: Sequence[Row], size: int) -> list[Batch]:
    starts = range(0, len(rows), size)
    return [Batch(tuple(rows[at] for at in range(start, min(start + size, len(rows))))) for start in starts]
