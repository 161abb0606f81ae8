"""Too little memory, in words: every library has its own way to say so."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rung.errors import OutOfMemoryError

_CPU_ALLOCATOR = "can't allocate memory"


@contextmanager
def memory_in_words() -> Iterator[None]:
    """Turn a refused allocation, and any error that one caused, into an `OutOfMemoryError` with the remedy."""
    try:
        yield
    except Exception as error:
        if not _is_about_memory(error):
            raise
        raise OutOfMemoryError(
            "out of memory: the run needs more than this machine has left",
            "Choose a smaller model, a smaller training.per_device_train_batch_size or a smaller max_length.",
        ) from error


def _is_about_memory(error: BaseException | None) -> bool:
    if error is None:
        return False
    is_refusal = (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and _CPU_ALLOCATOR in str(error))
    )
    return is_refusal or _is_about_memory(error.__cause__)
