"""What many runs on one base take in memory, beside the base and beside their files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.spec import Size, Spec, Survey

RUNS = 50
TESTED = 8
"""Rows the trained run is tested on."""


def benches(size: Size) -> list[Survey]:
    """One process that loads the base, then run after run."""
    args = {"runs": 2 if size.smoke else RUNS, "rows": TESTED, "r": 16}
    spec = Spec("many_loras.loaded", "many_loaded:loaded", args, "one base, then run after run", timeout=3000)
    return [Survey("many_loras", "memory of many LoRAs on one base (SmolLM2-135M, all maps)", [spec], "many:table")]


def table(found: Mapping[str, Any]) -> list[str]:
    """What the base took, what the runs took, and what they take on the disk."""
    (result,) = found.values()
    if result["status"] != "ok":
        return [f"Not measured ({result['status']}).", ""]
    runs, base, added = result["spec"]["args"]["runs"], result["base_bytes"], result["added_bytes"]
    files, mixing = result["file_bytes"], result["mixed_bytes"]
    return [
        "| | MB | a run |",
        "|---|---:|---:|",
        f"| the base | {base / 1e6:,.1f} | |",
        f"| {runs} runs on it, all held at once | {added / 1e6:,.1f} | {added / runs / 1e6:.2f} |",
        f"| their weights files, on the disk | {files / 1e6:,.1f} | {files / runs / 1e6:.2f} |",
        f"| a batch with a row of each, at its end | {mixing / 1e6:,.1f} | |",
        "",
        f"Resident memory, r={result['settings']['r']}, all maps, base in {result['settings']['precision']}. The runs "
        f"take {added / files:.3f} times their files. One run is trained for a step; the others are copies of it with "
        "noise on their weights.",
        "",
    ]
