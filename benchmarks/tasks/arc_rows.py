"""The rows of `arc_easy_fixed_shots.yaml`, as lm-eval takes them."""

from __future__ import annotations

from typing import Any

from benchmarks.arc import read
from datasets import Dataset


def splits(**_: Any) -> dict[str, Dataset]:
    """The rows that are scored, and those that are shown as shots."""
    scored, shots = read()
    return {"scored": Dataset.from_list(scored), "shots": Dataset.from_list(shots)}
