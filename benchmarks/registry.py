"""All benches, in the order of the table."""

from __future__ import annotations

from importlib import import_module

from benchmarks.spec import Bench, Size, Survey

MODULES = (
    "benchmarks.decoders",
    "benchmarks.encoders",
    "benchmarks.scoring",
    "benchmarks.writing",
    "benchmarks.roofline",
    "benchmarks.forecasts",
    "benchmarks.growth",
    "benchmarks.many",
)
"""Modules with a `benches(size)`."""


def all_benches(size: Size) -> list[Bench | Survey]:
    """Every bench and survey."""
    return [bench for module in MODULES for bench in import_module(module).benches(size)]
