"""The tiny models, for every test here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module `tiny_families`, which lies in no package."""
    path = Path(__file__).parents[1] / "compute" / "tiny_families.py"
    spec = importlib.util.spec_from_file_location("tiny_families", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
