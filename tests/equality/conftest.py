"""The plain computation of the tiny models, for every test here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def module(path: Path) -> ModuleType:
    """A module that lies in no package; imported once."""
    if path.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec and spec.loader
        sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[path.stem])
    return sys.modules[path.stem]


@pytest.fixture(scope="session")
def plain() -> ModuleType:
    """Batches of every layout, and what transformers makes of them one row at a time."""
    return module(HERE / "plain_path.py")
