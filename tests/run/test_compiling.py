"""Whether a run compiles follows from its settings, rows and machine alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rung.errors import ConfigError
from rung.run.compiling import WORTHWHILE, compiles
from rung.run.config import RunConfig
from rung.run.identity import identity
from rung.run.start import facts_of


def config(model: Path, **training: Any) -> RunConfig:
    return RunConfig.model_validate(
        {"data": {"train": "rows.csv"}, "model": str(model), "method": {"type": "lora"}, "training": training}
    )


@pytest.mark.parametrize(
    ("training", "compiler", "rows", "expected"),
    [
        ({}, True, 100, False),
        ({}, True, 16 * WORTHWHILE, True),
        ({}, False, 16 * WORTHWHILE, False),
        ({"max_steps": WORTHWHILE}, True, 100, True),
        ({"max_steps": WORTHWHILE - 1}, True, 16 * WORTHWHILE, False),
        ({"torch_compile": True}, True, 1, True),
        ({"torch_compile": False}, True, 16 * WORTHWHILE, False),
    ],
)
def test_long_runs_compile_where_there_is_a_compiler(
    training: dict[str, Any], compiler: bool, rows: int, expected: bool, tiny_models: dict[str, Path]
) -> None:
    model = tiny_models["llama"]
    facts = facts_of(str(model))
    assert compiles(config(model, **training), facts, {"compiler": compiler}, rows) is expected
    assert compiles(config(model, **training), replace(facts, kind="encoder"), {"compiler": compiler}, rows) is False


def test_compiling_without_a_compiler_is_refused(tiny_models: dict[str, Path]) -> None:
    model = tiny_models["llama"]
    with pytest.raises(ConfigError, match=r"torch_compile=true needs a C\+\+ compiler"):
        compiles(config(model, torch_compile=True), facts_of(str(model)), {"compiler": False}, 10)


def test_a_finished_run_is_known_before_its_rows_are_counted(tiny_models: dict[str, Path]) -> None:
    run = config(tiny_models["llama"])
    facts, choices = facts_of(run.model or ""), {"dtype": "float32", "compiler": True}
    assert identity(run, facts, choices, {}) == identity(run, facts, choices | {"torch_compile": True}, {})
