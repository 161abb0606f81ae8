"""One measurement, in a fork of a nursery or as `python -m benchmarks.measure SPEC.json RESULT.json`."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.machine import hardware, peak_bytes
from benchmarks.runner import versions


def measure(asked: Path, answer: Path) -> None:
    """Call the function that the spec in a file names, and write what it returns to another."""
    spec = json.loads(asked.read_text(encoding="utf-8"))
    module, _, function = spec["run"].partition(":")
    result = getattr(import_module(f"benchmarks.{module}"), function)(spec["args"])
    whole = peak_bytes()
    result = {"peak_bytes": whole, **result, "process_peak_bytes": whole}
    result |= {"versions": versions(), "hardware": hardware()}
    answer.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    measure(Path(sys.argv[1]), Path(sys.argv[2]))
