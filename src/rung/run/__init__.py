"""The composition root: what a run is, whether it can be, and running it."""

from rung.run.config import RunConfig
from rung.run.execute import execute
from rung.run.find_lr import find_learning_rate
from rung.run.validate import validate

__all__ = ["RunConfig", "execute", "find_learning_rate", "validate"]
