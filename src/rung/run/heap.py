"""Memory that a process keeps beyond its tensors: kernels made for one shape each, and what was freed.

Batches are never padded, so nearly every step has shapes of its own. oneDNN and PyTorch's layer above it make a kernel
for each and keep a thousand of them, 0.6 MB a shape: a long run would grow by several hundred MB for kernels that it
never meets again.
"""

from __future__ import annotations

import ctypes
import os

KERNELS = 256
"""Kernels kept by each of the two caches. A step meets about fifty shapes, and each layer meets all of them again."""
_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def bound_kernels() -> None:
    """Bound the caches of kernels, unless the user did; has effect until the process's first matrix product."""
    for name in _CACHES:
        os.environ.setdefault(name, str(KERNELS))


def give_back() -> None:
    """Hand freed memory back to the system between two phases, where the C library can.

    The next phase asks for other sizes, and would grow the heap on top of what lies idle in it.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
