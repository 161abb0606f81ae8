"""Whether a command may fork what works for it from itself, which saves the seconds of importing everything again."""

from __future__ import annotations

import sys


def nothing_computed() -> bool:
    """Whether nothing that computes, and no thread of it, is in this process yet: ask before the imports.

    False where a program or a notebook calls the command line, and where a fork is no safe thing (macOS) or none is to
    be had (Windows).
    """
    return sys.platform == "linux" and "torch" not in sys.modules
