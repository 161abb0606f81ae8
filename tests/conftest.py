"""What all tests share: two threads, no hub, and the starter models, fetched once into the user's own cache."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path
from types import ModuleType

import pytest
from docs.tiny import tiny_families

# before anything imports torch or a tokenizer: both read these once
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# processes that tests start see the same source tree as the tests
_SOURCE = str(Path(__file__).resolve().parent.parent / "src")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_SOURCE, os.environ.get("PYTHONPATH"))))

# a shell that starts tests in the background, and nohup, leave signals ignored, and processes inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

MODEL_FIXTURES = {"smollm2_path", "minilm_path", "bert_tiny_path"}


def pytest_configure() -> None:
    """Settle the cache folder here, so that a test may change HOME and still find the models."""
    from rung.models.cache import cache_root

    os.environ.setdefault("RUNG_CACHE", str(cache_root()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that asks for a starter model, so that `-m "not models"` runs anywhere."""
    for item in items:
        if MODEL_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.models)


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """Folder of `smollm2-135m-instruct`, fetched when it is not in the cache."""
    return _starter("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def minilm_path() -> Path:
    """Folder of `minilm-l6`, fetched when it is not in the cache."""
    return _starter("minilm-l6")


@pytest.fixture(scope="session")
def bert_tiny_path() -> Path:
    """Folder of `bert-tiny`, fetched when it is not in the cache."""
    return _starter("bert-tiny")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny random models by name: `llama`, `gpt2`, `bert`, `t5`, `bart` (see `tiny_models.py`)."""
    spec = importlib.util.spec_from_file_location("tiny_models", Path(__file__).with_name("tiny_models.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module `compute/tiny_families.py`, which lies in no package."""
    return tiny_families()


def _starter(name: str) -> Path:
    from rung.models.fetch import fetch
    from rung.models.references import CatalogueReference

    return fetch(CatalogueReference(name))
