"""What is done to runs. Each fault gives one verdict a point: empty when the run ended as an undisturbed one does."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from commands import Bench, Run
from points import Points, kill, limit, refuse

HISTORY = "history.jsonl"
STORAGE = 3
"""Exit code of a run that the disk refused."""
STOPPED = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}
SECONDS_TO_STOP = 10.0

Verdicts = Iterator[tuple[str, str]]
"""Names of points, each with what went wrong there."""


class Subject:
    """One kind of run, and what an undisturbed one gives.

    Args:
        bench: Where its runs are made.
        kind: One of `commands.KINDS`.
    """

    def __init__(self, bench: Bench, kind: str) -> None:
        self.bench, self.kind = bench, kind
        began = time.monotonic()
        run = self.new("wanted")
        assert run.end() == 0, run.said
        self.seconds = time.monotonic() - began
        self.wanted = run.result()

    def new(self, name: str) -> Run:
        """A run that has not begun."""
        return self.bench.run(f"{self.kind.split(',')[0]}-{name}", self.kind)

    def verdict(self, run: Run, log_lost: bool = False) -> str:
        """Give the same command again, undisturbed; what is wrong with how it ends. The run's folder is removed."""
        code = run.end()
        wrong = f"exit code {code}: {run.said[-500:]}" if code else run.differs(self.wanted)
        wrong = "" if log_lost and wrong == HISTORY else wrong
        if not wrong:
            shutil.rmtree(run.home)
        return wrong


def kills(subject: Subject, first: int, stride: int) -> Verdicts:
    """`kill -9` at every point, now and then once more in the recovery, until a run ends with no fault."""
    for point in count(first, stride):
        run = subject.new(f"kill-{point}")
        if run.end(Points(run.out, point, kill).watch) == 0:
            return
        if point % 4 == 0:
            run.end(Points(run.out, 1 + point * 7 % 23, kill).watch)
        yield f"kill {point}", subject.verdict(run)


def full_disk(subject: Subject, first: int, stride: int, *, lasting: bool) -> Verdicts:
    """No space at every point, once or from there on."""
    for point in count(first, stride):
        run = subject.new(f"full-{point}-{lasting}")
        struck = run.home / "struck"

        def strike(mark: Path = struck) -> None:
            mark.touch()
            refuse()

        code = run.end(Points(run.out, point, strike, lasting=lasting).watch)
        if not struck.exists():
            return
        # Once the result is sealed only checkpoints are removed: a disk that refuses that harms nobody.
        wrong = "" if code == 0 else _refusal(run, code, "no space is left on the disk")
        yield f"full {point} {lasting}", wrong or subject.verdict(run)


def small_files(subject: Subject, first: int, stride: int) -> Verdicts:
    """No file may grow past a size, for ever larger sizes: each tears another write in two."""
    for size in count(2048 + 128 * first, 128 * stride):
        run = subject.new(f"limit-{size}")
        code = run.end(limit(size))
        if code == 0:
            return
        wrong = _refusal(run, code, "the file would pass the size limit of this process or file system")
        yield f"limit {size}", wrong or subject.verdict(run)


def random_kills(subject: Subject, number: int, seed: int) -> Verdicts:
    """`kill -9` at random moments."""
    for name, run, _ in _struck(subject, number, seed, (signal.SIGKILL,)):
        yield name, subject.verdict(run)


def random_signals(subject: Subject, number: int, seed: int) -> Verdicts:
    """SIGTERM, SIGINT or SIGHUP at random moments: the right exit code, soon, and no traceback."""
    for name, run, (sent, code, seconds) in _struck(subject, number, seed, tuple(STOPPED)):
        wrong = ""
        if code != STOPPED[sent] or "Traceback" in run.said:
            wrong = f"{sent.name} gave exit code {code}: {run.said[-500:]}"
        elif seconds > SECONDS_TO_STOP:
            wrong = f"{sent.name} took {seconds:.1f} s"
        yield name, wrong or subject.verdict(run)


def _struck(
    subject: Subject, number: int, seed: int, signals: tuple[signal.Signals, ...]
) -> Iterator[tuple[str, Run, tuple[signal.Signals, int, float]]]:
    """Runs that were sent a signal while they ran: the signal, the exit code, the seconds until the end."""
    chance = random.Random(seed)
    done = 0
    while done < number:
        sent, moment = chance.choice(signals), chance.uniform(0.02, 0.95) * subject.seconds
        run = subject.new(f"{sent.name}-{seed}-{done}-{moment:.4f}")
        child = run.fork()
        time.sleep(moment)
        os.kill(child, sent)
        began = time.monotonic()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            # It was faster this time, and had ended.
            shutil.rmtree(run.home)
            continue
        done += 1
        yield f"{sent.name} after {moment:.3f} s", run, (sent, code, time.monotonic() - began)


def _refusal(run: Run, code: int, reason: str) -> str:
    """What is wrong with how a run put it that the disk refused."""
    right = code == STORAGE and reason in run.said and "Traceback" not in run.said
    return "" if right else f"exit code {code}: {run.said[-800:]}"


# Files that come back other than they were written.


def damages(subject: Subject, first: int, stride: int) -> Verdicts:
    """Each file of each checkpoint, and the history: missing, cut, with a bit flipped, or swapped with another's."""
    ended, other = (
        _stopped_before_its_result(subject, f"ended-{first}", 42),
        _stopped_before_its_result(subject, f"other-{first}", 7),
    )
    files = [path for path in sorted(ended.out.rglob("*")) if path.is_file() and path.name != ".lease"]
    steps = sorted(ended.out.glob("checkpoints/step-*"), key=lambda path: int(path.name.removeprefix("step-")))
    cases = [(path, name, harm) for path in files for name, harm in _HARMS.items()]
    for path in files:
        here = path.relative_to(ended.out)
        others = [other.out / here, *(step / path.name for step in steps if path.parent in steps)]
        cases += [(path, f"of {one}", _swap(one)) for one in others if one.is_file() and one != path]
    for path, name, harm in cases[first - 1 :: stride]:
        here = path.relative_to(ended.out)
        run = subject.new(f"damage-{first}-{stride}-{cases.index((path, name, harm))}")
        shutil.copytree(ended.out, run.out)
        harm(run.out / here)
        said = path.parent == steps[-1] or here == Path(HISTORY)
        yield f"{here} {name}", _damaged_verdict(subject, run, here.as_posix(), said)


def _damaged_verdict(subject: Subject, run: Run, here: str, must_be_said: bool) -> str:
    """Exact, with the damage said; or refused in words. A lost log is not written anew."""
    code = run.end()
    if code == 2 and "Traceback" not in run.said and "error: " in run.said:
        shutil.rmtree(run.home)
        return ""
    if must_be_said and "was moved to" not in run.said and "is not the log" not in run.said:
        return f"went on without a word: {run.said[-500:]}"
    return f"exit code {code}: {run.said[-500:]}" if code else subject.verdict(run, log_lost=here == HISTORY)


def _stopped_before_its_result(subject: Subject, name: str, seed: int) -> Run:
    """A run that was killed when all was trained and nothing of the result was written."""
    run = subject.new(name)

    def stop(event: str, path: Path) -> None:
        if event == "create" and path.parent == run.out and "model.safetensors" in path.name:
            kill()

    def watch() -> None:
        from rung.engine import fsio

        fsio.observer = stop

    assert run.end(watch, f"training.seed={seed}") == -signal.SIGKILL, run.said
    return run


def _cut(share: float) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, int(share * path.stat().st_size))


def _flip(place: float) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(place * (len(data) - 1))] ^= 1
        path.write_bytes(data)

    return harm


def _swap(source: Path) -> Callable[[Path], None]:
    return lambda path: shutil.copyfile(source, path) and None


_HARMS: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "empty": _cut(0.0),
    "half": _cut(0.5),
    "nearly whole": _cut(0.99),
    **{f"flipped at {place:.0%}": _flip(place) for place in (0.0, 0.1, 0.5, 0.9, 1.0)},
}
