"""Rung: every way of adapting a pretrained language model, on your data, and which is the lowest sufficient.

`rung.climb("sms.csv")` gives a report, `rung.train("run.yaml", "training.learning_rate=1e-4")` a finished run, and
`rung.load("out").predict([{"text": "free entry, text WIN"}])` its answers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rung.api import climb, load, train

__all__ = ["climb", "load", "train"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load the verbs on first use: `import rung` stays light."""
    if name in __all__:
        return getattr(import_module("rung.api"), name)
    raise AttributeError(f"module 'rung' has no attribute {name!r}")
