"""A server on loopback around a tiny random model, a cache of the test's own, and runs that ask it."""

from __future__ import annotations

import csv
import importlib.util
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rung.run import RunConfig

KEY_VARIABLE = "RUNG_TEST_KEY"
WORDS = [f"word{number}" for number in range(60)]

Configure = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def serving() -> ModuleType:
    """The module `server.py`, which lies in no package."""
    path = Path(__file__).with_name("server.py")
    spec = importlib.util.spec_from_file_location("endpoint_server", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def running(serving: ModuleType, tiny_models: dict[str, Path]) -> Iterator[Any]:
    with serving.Server(tiny_models["llama"]) as server:
        yield server


@pytest.fixture
def server(running: Any) -> Any:
    """The server, behaving well, having seen nothing."""
    running.behave()
    return running


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that nothing else has written to, and no key."""
    monkeypatch.setenv("RUNG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 rows of `text` and `label`, no two alike."""
    chance = random.Random(0)
    path = tmp_path_factory.mktemp("data") / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(60):
            writer.writerow([" ".join(chance.sample(WORDS, 5)), ("bad", "good")[number % 2]])
    return path


@pytest.fixture
def configure(table: Path, server: Any, tmp_path: Path) -> Configure:
    """Settings of a run: `configure("out", timeout=0.3)`; other sections as `task={...}`."""

    def made(out: str = "out", method: Any = "zero_shot", model: str = "", **endpoint: Any) -> RunConfig:
        sections = {name: endpoint.pop(name) for name in ("task", "data") if name in endpoint}
        body = {
            "data": {"train": str(table), "test_size": 0.25, "near_duplicates": False},
            "task": {"type": "classification", "text": "text", "label": "label"},
            "model": model or server.reference,
            "method": {"type": method} if isinstance(method, str) else method,
            "num_threads": 1,
            "endpoint": {"backoff": 0.01, "timeout": 20, "concurrency": 4, "api_key_env": KEY_VARIABLE, **endpoint},
            "output_dir": str(tmp_path / out),
        }
        return RunConfig.model_validate(body | sections)

    return made
