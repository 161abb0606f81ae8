"""The tiny models that stand for the families in these pages and in the matrix test."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

KINDS = {
    "decoders": ("llama", "gpt2", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "phi"),
    "encoders": ("bert", "roberta", "distilbert", "modernbert", "deberta_v2", "electra", "mpnet"),
    "encoder-decoders": ("t5", "bart"),
}
"""The families by their names in `tests/compute/tiny_families.py`."""
FAMILIES = tuple(name for members in KINDS.values() for name in members)


def tiny_families() -> ModuleType:
    """The module that builds them, which lies in no package."""
    path = Path(__file__).parents[1] / "tests" / "compute" / "tiny_families.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown; a bar inside a cell is escaped."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
