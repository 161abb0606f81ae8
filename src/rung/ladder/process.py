"""Starts the process of each of a ladder's runs, relays what it says, and ends it when its time is up."""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rung.engine import fsio
from rung.engine.loop import Hook, Progress
from rung.run.config import RunConfig
from rung.run.process import FORKS, Nursery, Own, Process

_CHILD = "rung.ladder.child"
_LOG_LINES = 3

Echo = Callable[[str], None]
Watch = Callable[[int], Hook]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a process ended: `finished`, `failed` or `cut`, with the reason."""

    status: str
    reason: str = ""


class Processes:
    """Runs of a ladder, each in a process of its own, one after the other; use it in a `with` block.

    Args:
        forks: See `FORKS`.
        nursery: What to fork them from; it is ended here. None = one that is started with the first run.
    """

    def __init__(self, forks: bool = FORKS, nursery: Nursery | None = None) -> None:
        self.forks = forks
        self._nursery = nursery

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def run(self, config: RunConfig, deadline: float | None, watch: Watch, echo: Echo = lambda _: None) -> Outcome:
        """Run one rung to its end, or to the deadline.

        Args:
            config: The run.
            deadline: `time.monotonic()` at which it is stopped; None = never.
            watch: Given the steps, a hook that shows progress.
            echo: Told in sentences what the run has to say: texts that were cut, damaged checkpoints.

        Returns:
            How it ended.
        """
        folder = Path(config.output_dir)
        given, log = folder / "given.json", folder / "child.log"
        fsio.write_text(given, config.model_dump_json(indent=2))
        process = self._forked(given, log) if self.forks else Own(_CHILD, [str(given)], log)
        try:
            return _follow(process, deadline, (watch, echo), log)
        finally:
            process.end()
            if self._nursery is not None and self._nursery.is_gone:
                self._close()

    def _forked(self, given: Path, log: Path) -> Process:
        if self._nursery is None:
            self._nursery = Nursery(log)
        self._nursery.start(_CHILD, [str(given)], log)
        return self._nursery

    def _close(self) -> None:
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None


def _follow(process: Process, deadline: float | None, tell: tuple[Watch, Echo], log: Path) -> Outcome:
    watch, echo = tell
    hook: Hook | None = None
    failed = ""
    while True:
        try:
            message = process.message(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return Outcome("cut", "the budget was used up while it ran; the same command with more budget goes on")
        if message is None:
            break
        if "steps" in message:
            hook = watch(message["steps"])
        elif "say" in message:
            echo(f"  {message['say']}")
        elif "step" in message and hook is not None:
            hook.after_step(Progress(**message))
        failed = message.get("failed", failed)
    code = process.wait()
    if code == 0:
        return Outcome("finished")
    return Outcome("failed", failed or _why(code, log))


def _why(code: int, log: Path) -> str:
    """The reason of an end without a word: a signal, or the last lines of its log."""
    if code == -signal.SIGKILL:
        return "its process was killed (signal 9), most likely for want of memory: a smaller model or batch needs less"
    if code < 0:
        return f"its process was ended by signal {-code}"
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LOG_LINES:]
    return f"exit code {code}; see {log}: {' | '.join(last)}"
