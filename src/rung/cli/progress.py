"""How far something is, on stderr: a bar on a terminal, lines elsewhere (a training's at each tenth)."""

from __future__ import annotations

import math
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from rung.cli.console import echo

if TYPE_CHECKING:
    from rung.engine.loop import Hook
    from rung.engine.loop import Progress as Standing

_LINES = 10
_METRICS = 3
"""Validation metrics in a line."""


class OneBar:
    """At most one bar at a time on a terminal, which goes when something is said or all is over.

    Args:
        console: Where the bar is drawn.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar: Progress | None = None

    def say(self, text: str) -> None:
        """Say something on stderr; what was shown has come to its end by then, so its bar goes."""
        self._stop()
        echo(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _show(self, *times: ProgressColumn) -> Progress:
        """A new bar in the old one's place."""
        self._stop()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(*columns, *times, console=self._console, transient=True)
        self._bar.start()
        return self._bar

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class TrainingProgress(OneBar):
    """Shows training steps: a context manager, and the `watch` that a run is given."""

    def __call__(self, total: int) -> _Bar | _Lines:
        """A hook for a training of `total` steps."""
        if not self._console.is_terminal:
            return _Lines(total)
        return _Bar(self._show(TimeElapsedColumn(), TimeRemainingColumn()), total)

    def brief(self, total: int) -> Hook:
        """A hook for one of many short trainings: a bar on a terminal, and nothing elsewhere."""
        return self(total) if self._console.is_terminal else _Silence()


def _scored(progress: Standing, most: int) -> str:
    """The first validation metrics in words, where they were taken after this step; perplexity says the loss again."""
    found = [(name, value) for name, value in (progress.validation or {}).items() if name != "perplexity"][:most]
    told = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in found)
    return f", validation {told}" if told else ""


class _Bar:
    def __init__(self, bar: Progress, total: int) -> None:
        self._scored = ""
        self._bar = bar
        self._task = bar.add_task("  training", total=total)

    def after_step(self, progress: Standing) -> None:
        self._scored = _scored(progress, 1) or self._scored
        told = f"  training, loss {progress.loss:.3f}{self._scored}"
        self._bar.update(self._task, completed=progress.step, description=told)


class _Silence:
    def after_step(self, progress: Standing) -> None:
        pass


class _Lines:
    def __init__(self, total: int) -> None:
        self._total = total
        self._every = math.ceil(total / _LINES)
        self._scored = ""

    def after_step(self, progress: Standing) -> None:
        self._scored = _scored(progress, _METRICS) or self._scored
        if progress.step % self._every == 0 or progress.step == self._total:
            done, loss = f"step {progress.step:,} of {self._total:,}", f"loss {progress.loss:.3f}"
            echo(f"  {done}, {loss}{self._scored}, {progress.seconds:.0f} s")
            self._scored = ""
