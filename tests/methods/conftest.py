"""What the tests of methods share."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def pairs() -> ModuleType:
    """The module `peft_pairs.py`, which lies in no package."""
    path = Path(__file__).with_name("peft_pairs.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
