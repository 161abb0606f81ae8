"""Every error a user can cause, worded so that the next step is in the message.

A user's mistake is a `RungError`; the command line prints its text and no traceback. An `assert` is ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RungError(Exception):
    """Something the user can mend.

    Args:
        what: What is wrong, with the value and the place (`name=value`, `file:line`).
        todo: What to do about it, one sentence.
    """

    exit_code = 2

    def __init__(self, what: str, todo: str = "") -> None:
        super().__init__(f"{what}\n  {todo}" if todo else what)
        self.what = what
        self.todo = todo


class ConfigError(RungError):
    """A setting is unknown, of the wrong type, or in conflict with another."""


class DataError(RungError):
    """An input file is missing, malformed, or does not hold what the task needs."""


class ModelError(RungError):
    """A model reference can't be resolved, fetched, verified or loaded."""


class IncompatibleError(RungError):
    """A method, objective, task and model that can't go together; raised before weights load."""


class ArtifactError(RungError):
    """A run folder is incomplete, damaged, or does not match its base model."""


class CheckpointError(RungError):
    """A checkpoint can't be used, or the settings changed since it was written."""


class StorageError(RungError):
    """A write failed: no space, no permission, a read-only disk. Nothing already saved was touched."""

    exit_code = 3


class TrainingError(RungError):
    """Training can't go on: a non-finite loss, or no supervised token."""

    exit_code = 4


class EndpointError(RungError):
    """An endpoint can't be reached, refuses, or gives no answer that can be read; what it answered before is kept."""

    exit_code = 6


class OutOfMemoryError(RungError):
    """The machine or the accelerator has too little memory for this run."""

    exit_code = 5


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like `name`, or None when none is near."""
    by_lower = {candidate.lower(): candidate for candidate in allowed}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.55)
    return by_lower[found[0]] if found else None


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """The sentence for an unknown name: what it is, its nearest match, what is allowed."""
    allowed = list(allowed)
    match = nearest(name, allowed)
    guess = f" Did you mean {match!r}?" if match else ""
    return f"unknown {kind} {name!r}.{guess} Allowed: {', '.join(allowed)}."
