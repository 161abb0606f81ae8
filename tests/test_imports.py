"""The package and its help answer without loading a heavy library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"
HEAVY = ("torch", "transformers", "peft", "datasets", "pyarrow", "pandas", "scipy", "sklearn")


def loaded_after(code: str) -> list[str]:
    """The heavy libraries that a fresh interpreter holds after running `code`."""
    report = f"import sys\n{code}\nprint('LOADED', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", report],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


def test_import_rung_is_light() -> None:
    assert loaded_after("import rung") == []


def test_help_is_light() -> None:
    code = """
sys.argv = ["rung", "--help"]
from rung.cli.app import main
try:
    status = main()
except SystemExit as end:
    status = end.code
assert not status, f"rung --help ended with {status!r}"
"""
    assert loaded_after(code) == []


def test_the_check_sees_a_heavy_library() -> None:
    assert loaded_after("import scipy") == ["scipy"]
