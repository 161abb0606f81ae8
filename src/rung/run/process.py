"""Processes that do one piece of work each and say JSON lines: of their own, or forks of one that has imported all."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from rung.run.nursery import born

FORKS = sys.platform == "linux"
"""Whether work is done by forks of a process that has imported all it needs; else each process imports it anew."""

_GRACE_SECONDS = 5.0


class _Handle(Protocol):
    """The part of `subprocess.Popen` that is used here."""

    stdin: IO[bytes] | None
    stdout: IO[bytes] | None

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class Process:
    """A process, whose lines are read by a thread of its own."""

    def __init__(self, process: _Handle) -> None:
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
        if line is None:
            self._lines.put(None)  # for whoever asks again
            return None
        return json.loads(line)

    def wait(self) -> int:
        """Its exit code, or minus the signal that ended it."""
        raise NotImplementedError

    def end(self) -> None:
        """End it: no process outlives who started it."""
        raise NotImplementedError


class Own(Process):
    """A process that imports for itself.

    Args:
        module: Is run with the words and this process's id.
        words: The words.
        log: Where its stderr goes.
    """

    def __init__(self, module: str, words: Sequence[str], log: Path) -> None:
        command = [sys.executable, "-m", module, *words, str(os.getpid())]
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


class Nursery(Process):
    """Processes that are forks of one (see `rung.run.nursery`), one at a time.

    Args:
        log: Where the stderr of that one goes. None: it is itself a fork of this process, which has imported
            everything, has computed nothing yet, and has no thread that may hold a lock.
    """

    def __init__(self, log: Path | None = None) -> None:
        if log is None:
            super().__init__(_Fork())
        else:
            command = [sys.executable, "-m", "rung.run.nursery", str(os.getpid())]
            with log.open("wb") as errors:
                super().__init__(
                    subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
                )
        self._born: int | None = None
        self._code: int | None = None

    @property
    def is_gone(self) -> bool:
        """Whether it can start no more."""
        return self.process.poll() is not None

    def start(self, module: str, words: Sequence[str], log: Path) -> None:
        """Have a process born, which is as `Own` is."""
        assert self.process.stdin is not None
        self._born = self._code = None
        with contextlib.suppress(BrokenPipeError):  # it is gone: its silence says so
            self.process.stdin.write(_line(module=module, words=words, log=str(log)))
            self.process.stdin.flush()

    def message(self, seconds: float | None) -> dict[str, Any] | None:
        """The next thing it says."""
        found = super().message(seconds)
        if found is not None and "ended" in found:
            self._code = found["ended"]
            return None
        if found is not None:
            self._born = found.pop("pid", self._born)
        return found

    def wait(self) -> int:
        """Its exit code; that of the nursery where it is gone before it could tell."""
        return (self.process.wait() or 1) if self._code is None else self._code

    def end(self) -> None:
        """End the process under way; one that is not known to be born yet is ended with its nursery."""
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
        """Whether it ends by a signal; what it still says is left unsaid."""
        assert self._born is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._born, number)
        until = time.monotonic() + _GRACE_SECONDS
        with contextlib.suppress(queue.Empty):
            while self.message(max(0.0, until - time.monotonic())) is not None:
                pass
            return True
        return False


@contextlib.contextmanager
def forked(wanted: bool) -> Iterator[Nursery | None]:
    """A nursery that is a fork of this process, ended afterwards; None where it is not wanted."""
    nursery = Nursery() if wanted else None
    try:
        yield nursery
    finally:
        if nursery is not None:
            nursery.close()


class _Fork:
    """A fork of this very process that serves as a nursery, as `subprocess` would show it."""

    def __init__(self) -> None:
        (asks, to), (of, says) = os.pipe(), os.pipe()
        self.stdin: IO[bytes] | None = os.fdopen(to, "wb")
        self.stdout: IO[bytes] | None = os.fdopen(of, "rb")
        target = {"target": born, "args": (asks, says, (to, of), os.getpid())}
        self._process = multiprocessing.get_context("fork").Process(daemon=True, **target)
        self._process.start()
        os.close(asks)
        os.close(says)

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code.

        Raises:
            subprocess.TimeoutExpired: It runs for longer.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a nursery", timeout or 0.0)
        return self._process.exitcode

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it."""
        self._process.kill()


def _line(**message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _pump(stream: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _stop(process: _Handle) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
