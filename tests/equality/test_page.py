"""`docs/exactness.md` names tests that exist, all of them, with the families they run on."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import FunctionType

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "exactness.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
ROWS = re.findall(r"^\| .+ \| (\w+) \| ([\w, ]*) ?\| `(tests/[\w/]+\.py)::(\w+)` \|$", PAGE, re.MULTILINE)
LEVELS = re.findall(r"^\| (\w+) \|", PAGE.partition("## What claims what")[0], re.MULTILINE)


def defined_in(path: Path) -> dict[str, FunctionType]:
    """The test functions of a module, by name."""
    spec = importlib.util.spec_from_file_location(f"page_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return {name: value for name, value in vars(module).items() if name.startswith("test_") and callable(value)}


def families(test: FunctionType) -> set[str]:
    """The values of a test's parameter `name`, alone or as the first of several."""
    found: set[str] = set()
    for mark in getattr(test, "pytestmark", ()):
        if mark.name != "parametrize":
            continue
        names = mark.args[0].split(",") if isinstance(mark.args[0], str) else list(mark.args[0])
        if names[0].strip() == "name":
            found |= {value if len(names) == 1 else value[0] for value in mark.args[1]}
    return found


def test_the_page_has_a_row_for_each_claim() -> None:
    claims = [line for line in PAGE.splitlines() if line.startswith("|") and "`tests/" in line]
    assert len(ROWS) == len(claims), "a row of the table has another form"
    assert {level for level, *_ in ROWS} <= set(LEVELS)


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMED}))
def test_named_tests_exist_and_run_on_the_families_named(path: str) -> None:
    tests = defined_in(ROOT / path)
    for other, name in NAMED:
        assert other != path or name in tests, f"{path}::{name} does not exist"
    for _, listed, other, name in ROWS:
        if other == path and listed.strip():
            assert {one.strip() for one in listed.split(",")} == families(tests[name]), name


def test_every_test_of_equality_is_on_the_page() -> None:
    pages_own = {Path(__file__).name}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        missing = {name for name in defined_in(path) if path.name not in pages_own} - {name for _, name in NAMED}
        assert not missing, f"{path.name}: {sorted(missing)}"
