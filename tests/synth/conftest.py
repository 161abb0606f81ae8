"""Seeds, settings, and a server that writes by rule."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rung.synth.settings import SynthConfig

Configure = Callable[..., SynthConfig]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of answers that nothing else has written to, and no key."""
    monkeypatch.setenv("RUNG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def server() -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location("scripted_server", Path(__file__).with_name("scripted.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    with module.Server() as running:
        yield running


@pytest.fixture
def seeds(tmp_path: Path) -> str:
    """Twelve seed tasks as self-instruct has them, four of them classifications."""
    topics = ["tea", "snow", "bread", "maps", "bees", "glass", "wool", "salt", "ink", "rain", "corn", "silk"]
    rows = [
        {
            "id": f"seed_{n}",
            "instruction": f"Tell me {n + 2} facts about how {topic} is made in the north.",
            "instances": [{"input": topic if n % 2 else "", "output": f"First, {topic} is old."}],
            "is_classification": n % 3 == 0,
        }
        for n, topic in enumerate(topics)
    ]
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def configure(seeds: str, server: Any, tmp_path: Path) -> Configure:
    """Settings of a small set: `configure("out", wanted=5)`."""

    def made(out: str = "out", **changed: Any) -> SynthConfig:
        body = {
            "model": server.reference, "wanted": 12, "rounds": 6, "requests_per_round": 3, "tasks_per_request": 4,
            "num_threads": 1, "output_dir": str(tmp_path / out), "endpoint": {"backoff": 0.01, "timeout": 20},
        }  # fmt: skip
        source = {} if "documents" in changed else {"seed_file": seeds}
        return SynthConfig.model_validate(body | source | changed)

    return made
