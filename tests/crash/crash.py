"""Disturbs real runs everywhere and counts how many end in the bytes of an undisturbed one.

`crash.py [--short] [--only FAULT] [--workers N] [--json FILE]`. Everything is imported once, here; each run is a fork
of this process. Ends with a table for the docs, and with code 1 when any run did not end as it must.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Read once, when torch and tokenizers are imported.
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

import faults
import ladders
import psutil
import torch
from commands import KINDS, Bench

DECODER, ENCODER = KINDS


@dataclass(frozen=True)
class Fault:
    """One line of the table: what is done, to which runs, and how often in the short and the full form.

    Attributes:
        promise: The line's words.
        kinds: The kinds of run it is done to.
        inflict: Given a run's kind, the worker's number from 1, how many workers there are, and how much is asked.
        short: How much in the short form: the distance between points, or how many.
        full: The same in the full form.
    """

    promise: str
    kinds: tuple[str, ...]
    inflict: Callable[[faults.Subject, int, int, int], faults.Verdicts]
    short: int
    full: int


def _share(number: int, worker: int, workers: int) -> int:
    return len(range(worker, number + 1, workers))


FAULTS = {
    "kill": Fault(
        "kill -9 at every touch of the disk",
        (DECODER,),
        lambda one, worker, workers, every: faults.kills(one, worker * every, workers * every),
        short=32,
        full=1,
    ),
    "kill-large": Fault(
        "kill -9 at every fourth touch, where all weights are trained",
        (ENCODER,),
        lambda one, worker, workers, every: faults.kills(one, worker * every, workers * every),
        short=192,
        full=4,
    ),
    "random": Fault(
        "kill -9 at a random moment",
        (DECODER, ENCODER),
        lambda one, worker, workers, number: faults.random_kills(one, _share(number, worker, workers), worker),
        short=2,
        full=100,
    ),
    "stop": Fault(
        "SIGTERM, SIGINT or SIGHUP at a random moment: the right exit code within seconds",
        (DECODER,),
        lambda one, worker, workers, number: faults.random_signals(one, _share(number, worker, workers), worker),
        short=4,
        full=60,
    ),
    "full": Fault(
        "no space on the disk, once, at every touch of it",
        (DECODER,),
        lambda one, worker, workers, every: faults.full_disk(one, worker * every, workers * every, lasting=False),
        short=72,
        full=3,
    ),
    "stays-full": Fault(
        "no space on the disk from a touch of it on",
        (DECODER,),
        lambda one, worker, workers, every: faults.full_disk(one, worker * every, workers * every, lasting=True),
        short=72,
        full=3,
    ),
    "torn": Fault(
        "a limit to the size of files, which tears a write in two",
        (DECODER,),
        lambda one, worker, workers, every: faults.small_files(one, worker * every, workers * every),
        short=12,
        full=1,
    ),
    "damage": Fault(
        "a file missing, cut, flipped or swapped: exact, or refused in words",
        (DECODER,),
        lambda one, worker, workers, every: faults.damages(one, worker * every, workers * every),
        short=32,
        full=1,
    ),
}


@dataclass
class Line:
    """A line of the table as it came out."""

    promise: str
    points: int
    exact: int
    seconds: float
    failures: list[str]


def main() -> int:
    """Run what was asked; print a line a fault, then the sum."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--short", action="store_true")
    asked.add_argument("--only", choices=[*FAULTS, "climb"], nargs="+")
    asked.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    asked.add_argument("--json", type=Path)
    chosen = asked.parse_args()
    torch.set_num_threads(1)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="rung-crash-", dir=memory) as folder:
        bench = Bench.build(Path(folder))
        # What a run imports on its way is imported here, before the forks.
        for kind in KINDS:
            assert bench.run(f"warm-{len(lines)}-{kind.split(',')[0]}", kind).command() == 0
        subjects = {kind: faults.Subject(bench, kind) for kind in KINDS}
        for name, fault in FAULTS.items():
            if chosen.only is None or name in chosen.only:
                lines.append(_inflict(fault, subjects, chosen.workers, fault.short if chosen.short else fault.full))
                _tell(lines[-1])
        # Ladders take longest; tests/cli/test_interrupted.py kills some in any case.
        if (chosen.only is None and not chosen.short) or "climb" in (chosen.only or ()):
            verdicts = ladders.kills(bench, 1 if chosen.short else 12)
            lines.append(_timed("kill -9 of a ladder at a random moment", verdicts))
            _tell(lines[-1])
    return _conclude(lines, chosen.json)


def _inflict(fault: Fault, subjects: dict[str, faults.Subject], workers: int, amount: int) -> Line:
    """Share a fault's points among forked workers."""
    fork = multiprocessing.get_context("fork")
    queue: Any = fork.Queue()

    def work(subject: faults.Subject, worker: int) -> None:
        try:
            for verdict in fault.inflict(subject, worker, workers, amount):
                queue.put(verdict)
        except BaseException:
            queue.put(("the harness itself", traceback.format_exc()))
        queue.put(None)

    def verdicts() -> faults.Verdicts:
        for kind in fault.kinds:
            running = [fork.Process(target=work, args=(subjects[kind], worker + 1)) for worker in range(workers)]
            for process in running:
                process.start()
            left = workers
            while left:
                verdict = queue.get()
                left -= verdict is None
                if verdict is not None:
                    yield f"{kind}: {verdict[0]}", verdict[1]
            for process in running:
                process.join()

    return _timed(fault.promise, verdicts())


def _timed(promise: str, verdicts: Iterable[tuple[str, str]]) -> Line:
    began = time.monotonic()
    found = list(verdicts)
    failures = [f"{name}: {wrong}" for name, wrong in found if wrong]
    return Line(promise, len(found), len(found) - len(failures), round(time.monotonic() - began, 1), failures)


def _tell(line: Line) -> None:
    print(f"{line.exact:>5} of {line.points:<5} {line.seconds:>6.0f} s  {line.promise}", flush=True)
    for failure in line.failures:
        print(f"      {failure}", flush=True)


def _conclude(lines: list[Line], path: Path | None) -> int:
    points, exact = sum(line.points for line in lines), sum(line.exact for line in lines)
    record = _record(lines)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\n{_table(record)}\n")
    print(f"{exact} of {points} disturbed runs ended in the bytes of an undisturbed one, or were refused in words.")
    return 0 if exact == points and all(line.points for line in lines) else 1


def _record(lines: list[Line]) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "lines": [vars(line) for line in lines],
    }


def _table(record: dict[str, Any]) -> str:
    """The record in Markdown, as `docs/reliability.md` shows it."""
    lines = record["lines"]
    memory = f"{record['memory_bytes'] / 2**30:.0f} GiB"
    total = [sum(line[name] for line in lines) for name in ("exact", "points", "seconds")]
    return "\n".join(
        [
            f"Measured {record['date']} on {record['cores']} cores, {memory}, {record['system']}, "
            f"Python {record['python']}, torch {record['torch']}.",
            "",
            "| what is done to a run | as promised | seconds |",
            "|---|---|---|",
            *(f"| {line['promise']} | {line['exact']} of {line['points']} | {line['seconds']:.0f} |" for line in lines),
            f"| **all** | **{total[0]} of {total[1]}** | {total[2]:.0f} |",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
