"""Saves checkpoints at step boundaries."""

from __future__ import annotations

from rung.engine.checkpoint import CheckpointStore
from rung.engine.loop import Progress
from rung.engine.optim import Optimizer
from rung.engine.trainstate import TrainState


class Saving:
    """Saves when due, and whenever the best score was just reached.

    Args:
        store: Where to.
        optimizer: Holds the weights and moments.
        every: Steps between checkpoints.
        total: Steps of the run.
    """

    def __init__(self, store: CheckpointStore, optimizer: Optimizer, every: int, total: int) -> None:
        self.store = store
        self.optimizer = optimizer
        self.every = every
        self.total = total

    def after_step(self, progress: Progress) -> None:
        """Save when due."""
        best = progress.scalars.get("best_step") == progress.step
        if best or progress.step % self.every == 0 or progress.step == self.total or progress.stop:
            self.store.save(self.snapshot(progress, best))

    def snapshot(self, progress: Progress, best: bool) -> TrainState:
        """The state at this step's boundary."""
        scalars = {
            **progress.scalars,
            "stop": progress.stop,
            "seconds": progress.seconds,
            "tokens": progress.tokens,
        }
        return TrainState(progress.step, progress.step, self.optimizer.master(), self.optimizer.state(), scalars, best)


def resume(store: CheckpointStore, optimizer: Optimizer) -> Progress:
    """Where the newest good checkpoint left off, with weights and moments restored; the start when there is none."""
    state = store.latest()
    if state is None:
        return Progress()
    optimizer.load_master(state.weights)
    optimizer.load_state(state.optimizer)
    scalars = dict(state.scalars)
    carried = {name: scalars.pop(name) for name in ("stop", "seconds", "tokens")}
    return Progress(step=state.step, scalars=scalars, **carried)
