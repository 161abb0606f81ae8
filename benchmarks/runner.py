"""Makes measurements, and never the same one twice."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.processes import HERE, ROOT, Processes
from benchmarks.spec import Bench, Peer, Spec, Survey

COMPUTING = ("torch", "transformers", "peft", "trl", "accelerate", "lm_eval", "datasets", "tokenizers", "numpy")
GEMM_ARGS = {"size": 2048, "warm": 3.0, "timed": 5.0}
GEMM = Spec("machine", "machine:gemm_peak", GEMM_ARGS, "the best rate of bf16 and fp32 matrix products")

Result = dict[str, Any]


class Runner:
    """Measures specs, keeps their results, and finds finished ones again.

    Args:
        folder: Where results and logs go.
        retry: Whether failed and timed-out measurements are made again.
        measures: False only finds what there is.
    """

    def __init__(self, folder: Path, retry: bool = False, measures: bool = True) -> None:
        self.folder = folder
        self.retry = retry
        self.measures = measures
        self._processes = Processes(folder)
        self._rung = _digest(sorted((ROOT / "src" / "rung").rglob("*.py")))

    def bench(self, bench: Bench) -> dict[str, Any]:
        """A bench's ladders, then its interleaved rounds.

        Returns:
            `gemm`; `ladders`: per peer the results of its steps, none for a ladder of one step, which the rounds
            measure anyway; `best`: per peer the name of the step compared with, or None; `rounds`: per round the
            results by side (`ours` and peer titles).
        """
        gemm = self.measure(GEMM, with_rung=True)
        best: dict[str, Spec | None] = {peer.title: peer.ladder[0] for peer in bench.peers}
        ladders: dict[str, list[Result]] = {peer.title: [] for peer in bench.peers}
        for peer in bench.peers:
            if len(peer.ladder) > 1:
                ladders[peer.title] = [self.measure(step) for step in peer.ladder]
                best[peer.title] = fastest(peer, ladders[peer.title])
        rounds = []
        for number in range(1, bench.repeats + 1):
            sides = {"ours": bench.ours.called(f"{bench.name}.ours.round{number}")}
            for at, peer in enumerate(bench.peers):
                chosen = best[peer.title]
                if chosen is not None:
                    sides[peer.title] = chosen.called(f"{bench.name}.peer{at}.round{number}", **peer.rows)
            rounds.append({side: self.measure(spec, with_rung=True) for side, spec in sides.items()})
        names = {title: spec and spec.name for title, spec in best.items()}
        return {"gemm": gemm, "ladders": ladders, "best": names, "rounds": rounds}

    def survey(self, survey: Survey) -> dict[str, Result]:
        """A survey's results by name, in order."""
        return {spec.name: self.measure(spec, with_rung=True) for spec in survey.specs}

    def measure(self, spec: Spec, with_rung: bool = False) -> Result:
        """A spec's result: the one there is, or a new one.

        Args:
            spec: The measurement.
            with_rung: Whether a change of Rung's source makes it necessary again.

        Returns:
            The result; its `status` is `ok`, `failed`, `timeout`, or `missing` where nothing may be measured.
        """
        key = self._key(spec, with_rung)
        path = self.folder / f"{spec.name}.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if not self.measures:
            return known if known is not None else {"status": "missing", "spec": asdict(spec)}
        if known is not None and known["key"] == key and (known["status"] == "ok" or not self.retry):
            return known
        print(f"{spec.name}: measuring ({spec.note or spec.run})", flush=True)
        result = {**self._run(spec), "spec": asdict(spec), "key": key}
        written = _write(path, result)
        print(f"{spec.name}: {summary(written)}", flush=True)
        return written

    def _key(self, spec: Spec, with_rung: bool) -> str:
        content = {
            # What a measurement is called, said to be, or waits for at most does not change what it measures.
            "spec": asdict(replace(spec, note="", excluded="", timeout=0)),
            "versions": versions(),
            "benchmark": _digest(_modules(spec.run.partition(":")[0])),
            "rung": self._rung if with_rung else "",
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def _run(self, spec: Spec) -> Result:
        self.folder.mkdir(parents=True, exist_ok=True)
        asked = self.folder / f"{spec.name}.spec"
        answer = self.folder / f"{spec.name}.answer"
        answer.unlink(missing_ok=True)
        asked.write_text(json.dumps({"run": spec.run, "args": dict(spec.args)}), encoding="utf-8")
        log = self.folder / f"{spec.name}.log"
        about = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "log": log.name}
        try:
            ended = self._processes.run(spec)
            given = json.loads(answer.read_text(encoding="utf-8")) if ended == 0 and answer.is_file() else {}
        except subprocess.TimeoutExpired:
            return {"status": "timeout", "error": f"not done within {spec.timeout} s", **about}
        finally:
            asked.unlink(missing_ok=True)
            answer.unlink(missing_ok=True)
        if not given:
            return {"status": "failed", "error": _last_line(log) or f"exit code {ended}", **about}
        return {"status": "ok", **given, **about}


def fastest(peer: Peer, results: Iterable[Result]) -> Spec | None:
    """The step of a ladder with most rows a second that is not excluded; None where none ended well."""
    speeds = {
        step: result["rows"] / result["seconds"]
        for step, result in zip((step.name for step in peer.ladder), results, strict=True)
        if result["status"] == "ok"
    }
    eligible = [step for step in peer.ladder if step.name in speeds and not step.excluded]
    return max(eligible, key=lambda step: speeds[step.name], default=None)


def versions() -> dict[str, str]:
    """Versions of the packages that compute, as far as they are installed."""
    found = {}
    for name in COMPUTING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def summary(result: Result) -> str:
    """A result in a line."""
    if result["status"] == "missing":
        return "not measured"
    if result["status"] != "ok":
        return f"{result['status']}: {result.get('error', '')}"
    parts = [f"{result['rows'] / result['seconds']:.2f} a second"] if "seconds" in result else []
    parts += [f"held-out loss {result['held_out_loss']:.4f}"] if result.get("held_out_loss") is not None else []
    parts += [f"{result['peak_bytes'] / 1e9:.1f} GB"] if "peak_bytes" in result else []
    return ", ".join(parts) or "done"


def _modules(first: str) -> list[Path]:
    """The file of a module of this package, and those of all that it imports from the package."""
    found: dict[str, Path] = {}
    wanted = [first]
    while wanted:
        name = wanted.pop()
        path = HERE / f"{name}.py"
        if name not in found and path.is_file():
            found[name] = path
            wanted += re.findall(r"^\s*from benchmarks\.(\w+) import", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [found[name] for name in sorted(found)]


def _digest(paths: Iterable[Path]) -> str:
    together = hashlib.sha256()
    for path in paths:
        together.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return together.hexdigest()


def _write(path: Path, result: Result) -> Result:
    """Whole or not at all: a killed bench leaves no half result. Gives back what will be read."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
    return json.loads(path.read_text(encoding="utf-8"))


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
