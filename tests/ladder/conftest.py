"""The builder of ladder folders, for every test here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """The module `ladder_folder`, which lies beside this file and in no package."""
    path = Path(__file__).with_name("ladder_folder.py")
    spec = importlib.util.spec_from_file_location("ladder_folder", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def finished(made: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default ladder folder, for tests that only read it."""
    curve = made.growth("minilm-l6 head_only", 0.93) | made.growth("minilm-l6 full", 0.96)
    return made.LadderFolder(learning_curve=curve).write(tmp_path_factory.mktemp("ladder"))
