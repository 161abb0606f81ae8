"""Starts a rung's process, relays what it says, and ends it when its time is up."""

from __future__ import annotations

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
from typing import IO, Any

from rung.engine import fsio
from rung.engine.loop import Hook, Progress
from rung.run.config import RunConfig

_GRACE_SECONDS = 5.0
_LOG_LINES = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a process ended: `finished`, `failed` or `cut`, with the reason."""

    status: str
    reason: str = ""


def run_process(
    config: RunConfig,
    deadline: float | None,
    watch: Callable[[int], Hook],
    echo: Callable[[str], None] = lambda _: None,
) -> Outcome:
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
    given = folder / "given.json"
    fsio.write_text(given, config.model_dump_json(indent=2))
    log = folder / "child.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "rung.ladder.child", str(given), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            return _follow(process, deadline, (watch, echo), log)
        finally:
            _end(process)


def _follow(
    process: subprocess.Popen[bytes],
    deadline: float | None,
    tell: tuple[Callable[[int], Hook], Callable[[str], None]],
    log: Path,
) -> Outcome:
    assert process.stdout is not None
    watch, echo = tell
    lines: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True).start()
    hook: Hook | None = None
    failed = ""
    while True:
        try:
            line = lines.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return Outcome("cut", "the budget was used up while it ran; the same command with more budget goes on")
        if line is None:
            break
        message = json.loads(line)
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


def _end(process: subprocess.Popen[Any]) -> None:
    """No process outlives its ladder."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
