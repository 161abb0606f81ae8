"""How a measurement becomes a process: a fork of its module's nursery, or a new one where its libraries are others."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

from benchmarks.spec import Spec

ROOT = Path(__file__).parents[1]
HERE = ROOT / "benchmarks"
BUILT = ROOT / "build" / "benchmarks"


class Processes:
    """Starts measurements, one at a time. The nurseries it keeps end with it.

    Args:
        folder: Where specs, results and logs are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nurseries: dict[str, _Nursery] = {}

    def run(self, spec: Spec) -> int:
        """Run a measurement, whose spec lies in the folder, to its end; on time-out its whole process group is ended.

        Returns:
            Its exit code.

        Raises:
            subprocess.TimeoutExpired: It took longer than the spec allows.
        """
        if spec.env or spec.packages:  # read once, when libraries are imported
            return self._of_its_own(spec)
        module = spec.run.partition(":")[0]
        if module not in self._nurseries:
            self._nurseries[module] = _Nursery(module, self._folder)
        try:
            return self._nurseries[module].run(spec)
        except BaseException:
            self._nurseries.pop(module).kill()
            raise

    def _of_its_own(self, spec: Spec) -> int:
        asked, answer, log = (self._folder / f"{spec.name}.{kind}" for kind in ("spec", "answer", "log"))
        overlays = [_overlay(requirement, log) for requirement in spec.packages]
        command = [sys.executable, "-m", "benchmarks.measure", str(asked), str(answer)]
        environment = {**_environment(overlays), **spec.env}
        with log.open("ab" if overlays else "wb") as sink:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                return process.wait(timeout=spec.timeout)
            except BaseException:
                # An interrupt inside `wait` may have left its lock taken: ask the system itself.
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.killpg(process.pid, signal.SIGKILL)
                    os.waitpid(process.pid, 0)
                process.returncode = -signal.SIGKILL
                raise


class _Nursery:
    """A process that has imported a module and forks its measurements (see `benchmarks.nursery`)."""

    def __init__(self, module: str, folder: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.nursery", module, str(folder)]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment([]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # what waits in a buffer no select sees
            start_new_session=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._asks, self._hears = self._process.stdin, self._process.stdout
        self._born: int | None = None
        weakref.finalize(self, _end, self._process)

    def run(self, spec: Spec) -> int:
        """Fork a measurement and wait for it, as `Processes.run` does."""
        self._asks.write(json.dumps({"name": spec.name}).encode() + b"\n")
        self._born = self._hear(_IMPORTING)["pid"]
        ended = self._hear(spec.timeout)["ended"]
        self._born = None
        return ended

    def kill(self) -> None:
        """End it, and the measurement under way with all its processes."""
        self._process.kill()
        if self._born is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._born, signal.SIGKILL)

    def _hear(self, seconds: float) -> dict[str, Any]:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._hears, selectors.EVENT_READ)
            if not waiting.select(seconds):
                raise subprocess.TimeoutExpired(self._process.args, seconds)
        line = self._hears.readline()
        if not line:
            raise RuntimeError(f"the nursery ended with exit code {self._process.wait()}")
        return json.loads(line)


_IMPORTING = 120
"""Seconds that a module and its libraries may take to be imported."""


def _end(process: subprocess.Popen[bytes]) -> None:
    with process:  # closes its stdin, upon which it ends, and waits
        pass


def _environment(overlays: list[Path]) -> dict[str, str]:
    paths = [*map(str, overlays), str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _overlay(requirement: str, log: Path) -> Path:
    """A folder with one package in another release; everything else stays the environment's own."""
    folder = BUILT / "packages" / requirement
    if not (folder / ".whole").is_file():
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "--upgrade", "--target", str(folder)]
        with log.open("wb") as sink:
            subprocess.run([*command, requirement], check=True, stdout=sink, stderr=subprocess.STDOUT, timeout=300)
        (folder / ".whole").touch()
    return folder
