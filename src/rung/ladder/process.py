"""Starts the process of each of a ladder's runs, relays what it says, and ends it when its time is up."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from rung.engine import fsio
from rung.engine.loop import Hook, Progress
from rung.run.config import RunConfig

FORKS = sys.platform == "linux"
"""Whether runs are forks of a process that has imported all they need; else each imports it anew."""

_GRACE_SECONDS = 5.0
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
    """

    def __init__(self, forks: bool = FORKS) -> None:
        self.forks = forks
        self._nursery: _Nursery | None = None

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
        process = self._forked(given, log) if self.forks else _Own(given, log)
        try:
            return _follow(process, deadline, (watch, echo), log)
        finally:
            process.end()
            if self._nursery is not None and self._nursery.is_gone:
                self._close()

    def _forked(self, given: Path, log: Path) -> _Process:
        if self._nursery is None:
            self._nursery = _Nursery(log)
        self._nursery.start(given, log)
        return self._nursery

    def _close(self) -> None:
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None


class _Process:
    """A run's process, whose lines are read by a thread of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self.process = process
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=_pump, args=(process.stdout, self._lines), daemon=True).start()

    def message(self, seconds: float | None) -> dict[str, Any] | None:
        """The next thing it says; None when it has ended.

        Raises:
            queue.Empty: It says nothing for so long.
        """
        line = self._lines.get(timeout=seconds)
        return None if line is None else json.loads(line)

    def wait(self) -> int:
        """Its exit code, or minus the signal that ended it."""
        raise NotImplementedError

    def end(self) -> None:
        """No process outlives its ladder."""
        raise NotImplementedError


class _Own(_Process):
    """A process that imports for itself."""

    def __init__(self, given: Path, log: Path) -> None:
        command = [sys.executable, "-m", "rung.ladder.child", str(given), str(os.getpid())]
        with log.open("wb") as errors:
            super().__init__(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors))

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait()

    def end(self) -> None:
        """Terminate it, or kill it."""
        _stop(self.process)
        assert self.process.stdout is not None
        self.process.stdout.close()


class _Nursery(_Process):
    """Processes that are forks of one (see `rung.ladder.nursery`), one at a time."""

    def __init__(self, log: Path) -> None:
        command = [sys.executable, "-m", "rung.ladder.nursery", str(os.getpid())]
        with log.open("wb") as errors:
            super().__init__(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors))
        self._born: int | None = None
        self._code: int | None = None

    @property
    def is_gone(self) -> bool:
        """Whether it can start no more."""
        return self.process.poll() is not None

    def start(self, given: Path, log: Path) -> None:
        """Have a run born."""
        assert self.process.stdin is not None
        self._born = self._code = None
        with contextlib.suppress(BrokenPipeError):  # it is gone: its silence says so
            self.process.stdin.write(json.dumps({"given": str(given), "log": str(log)}).encode() + b"\n")
            self.process.stdin.flush()

    def message(self, seconds: float | None) -> dict[str, Any] | None:
        """The next thing the run says."""
        found = super().message(seconds)
        if found is not None and "ended" in found:
            self._code = found["ended"]
            return None
        if found is not None:
            self._born = found.pop("pid", self._born)
        return found

    def wait(self) -> int:
        """The run's exit code; that of the nursery where it is gone before it could tell."""
        return (self.process.wait() or 1) if self._code is None else self._code

    def end(self) -> None:
        """End the run under way; one that is not known to be born yet is ended with its nursery."""
        if self._code is not None or self.is_gone:
            return
        if self._born is None:
            _stop(self.process)
        elif not self._ends_by(signal.SIGTERM):
            self._ends_by(signal.SIGKILL)

    def close(self) -> None:
        """End the nursery."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE_SECONDS)
        _stop(self.process)
        self.process.stdout.close()

    def _ends_by(self, number: signal.Signals) -> bool:
        """Whether the run ends by a signal; what it still says is left unsaid."""
        assert self._born is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._born, number)
        until = time.monotonic() + _GRACE_SECONDS
        with contextlib.suppress(queue.Empty):
            while self.message(max(0.0, until - time.monotonic())) is not None:
                pass
            return True
        return False


def _follow(process: _Process, deadline: float | None, tell: tuple[Watch, Echo], log: Path) -> Outcome:
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


def _pump(stream: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _why(code: int, log: Path) -> str:
    """The reason of an end without a word: a signal, or the last lines of its log."""
    if code == -signal.SIGKILL:
        return "its process was killed (signal 9), most likely for want of memory: a smaller model or batch needs less"
    if code < 0:
        return f"its process was ended by signal {-code}"
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LOG_LINES:]
    return f"exit code {code}; see {log}: {' | '.join(last)}"


def _stop(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
