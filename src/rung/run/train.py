"""Training with weights: the loop with its hooks, resumable at any moment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.compute.pointwise import compiled
from rung.engine import fsio
from rung.engine.callbacks.history import History, restore
from rung.engine.callbacks.saving import Saving, resume
from rung.engine.callbacks.scoring import Judge, Scoring, validation
from rung.engine.checkpoint import CheckpointStore, check_space
from rung.engine.loop import Hook, Schedule, train
from rung.engine.optim import Optimizer
from rung.engine.schedule import warmup_count
from rung.engine.settings import TrainingConfig
from rung.methods.adapted import Adapted
from rung.methods.base import WeightMethod
from rung.objectives.base import Objective
from rung.run.forecast import source_of
from rung.run.heap import give_back
from rung.types import Batch, Loss, Row

_CHECKPOINT_BYTES = 12
"""Per trained number: the weight and AdamW's two moments, all in fp32."""


class Learning:
    """An adapted model under an objective, as the loop sees it."""

    def __init__(self, adapted: Adapted, objective: Objective, model_dropout: bool, compile: bool = False) -> None:
        self.adapted = adapted
        self.objective = objective
        self.model_dropout = model_dropout
        self.compile = compile

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """The objective's counts."""
        return self.objective.counts(batch)

    def loss(self, batch: Batch) -> Loss:
        """The objective's loss, in training mode."""
        self.adapted.training(self.model_dropout)
        with compiled(self.compile):
            return self.objective.loss(self.adapted, batch)


@dataclass(frozen=True, slots=True)
class Trained:
    """What training came to.

    Attributes:
        validation: The metrics of the weights it ends with, if they were scored.
        steps: Optimizer steps.
        seconds: Spent in steps alone, since the run's very start.
        earlier: Of these, those spent before this process took the run up.
        tokens: Row tokens seen.
        optimizer_bytes: What the optimizer holds besides the weights.
        notes: What is worth saying.
        accepted: The changes of settings it was gone on with (see `rung.engine.owner`).
    """

    validation: Mapping[str, float] | None
    steps: int
    seconds: float
    earlier: float
    tokens: int
    optimizer_bytes: int
    notes: tuple[str, ...]
    accepted: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run writes, and who it is: its identity decides whether a checkpoint may be gone on from.

    `accept` names the settings in which that may differ from a checkpoint's.
    """

    folder: Path
    run_id: str
    config_hash: str
    identity: Mapping[str, Any]
    accept: Collection[str] = ()


def settled(asked: TrainingConfig, method: WeightMethod, kind: str) -> tuple[TrainingConfig, float]:
    """The training settings with the method's own epochs where none were asked for, and the peak learning rate.

    Args:
        asked: The settings as they were given.
        method: The method.
        kind: The model's.
    """
    settings = asked.model_copy(update={"num_train_epochs": asked.num_train_epochs or method.default_epochs})
    return settings, settings.learning_rate or method.default_rate(kind)


def fit(
    adapted: Adapted,
    objective: Objective,
    rows: Sequence[Row],
    settings: tuple[TrainingConfig, float],
    place: Place,
    judge: Judge,
    watch: Callable[[int], Hook],
) -> Trained:
    """Train to the end, going on from the newest good checkpoint.

    Args:
        adapted: The model; ends with the weights to keep.
        objective: What is learned.
        rows: The encoded training rows.
        settings: The training settings and the peak learning rate.
        place: Where checkpoints and history go.
        judge: Scores the validation rows at the current weights.
        watch: Given the steps of the run, a hook that shows progress.

    Returns:
        What it came to.

    Raises:
        NotFiniteError: A loss or a gradient is not finite.
    """
    config, peak = settings
    source = source_of(rows, config)
    total = config.total_steps(source.steps_per_epoch)
    optimizer = Optimizer(adapted.trainable, config.optimizer(peak), adapted.precise, adapted.rates)
    where, limit = place.folder / "checkpoints", config.save_total_limit
    store = CheckpointStore(where, place.run_id, place.config_hash, place.identity, limit, place.accept)
    progress = resume(store, optimizer)
    log = place.folder / "history.jsonl"
    if not restore(log, progress):
        store.set_aside(log, f"it is not the log of the first {progress.step} steps; the log goes on without them")
        fsio.write_text(log, "")
    earlier = progress.seconds
    check_space(place.folder, sum(_CHECKPOINT_BYTES * value.numel() for value in adapted.trainable.values()))
    every = min((config.eval_strategy == "steps" and config.eval_steps) or source.steps_per_epoch, total)
    scoring = None if config.eval_strategy == "no" else Scoring(judge, every, total, config.early_stopping_patience)
    history = History(log, source.steps_per_epoch, progress)
    saving = Saving(store, optimizer, config.save_steps or every, total)
    hooks: list[Hook] = [*([scoring] if scoring else []), history, saving, watch(total)]
    compute_features(adapted, objective, rows)
    warmup = warmup_count(config.warmup_steps, total)
    schedule = Schedule(peak, total, warmup, config.lr_scheduler_type, config.max_grad_norm, config.seed)
    learning = Learning(adapted, objective, config.model_dropout, config.torch_compile is True)
    train(learning, source, optimizer, schedule, progress, hooks)
    held = optimizer.held_bytes()
    optimizer.retire()
    best = store.best() if config.load_best_model_at_end and scoring is not None else None
    if best is not None:
        optimizer.load_master(best.weights)
    give_back()
    adapted.evaluating()
    judged = validation(progress, "last" if best is None else "best")
    notes, accepted = tuple(store.notes), store.owner.accepted
    return Trained(judged, progress.step, progress.seconds, earlier, progress.tokens, held, notes, accepted)


def compute_features(adapted: Adapted, objective: Objective, rows: Sequence[Row]) -> None:
    """Let a method with a frozen body compute its features once."""
    adapted.evaluating()
    if objective.needs_head:
        adapted.prepare([sequence for row in rows for sequence in row.sequences], getattr(objective, "pooling", "mean"))
