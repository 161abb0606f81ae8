"""One writer per folder, enforced between processes."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from rung.engine.diskfaults import guard
from rung.errors import CheckpointError

_LEASE = ".lease"


def take_lease(folder: Path) -> tuple[int, list[str]]:
    """Become the only process that writes to `folder`, until this process ends.

    Returns:
        The descriptor that holds the lease, and what the user should know: that the file system has no locks.

    Raises:
        CheckpointError: Another process holds it.
    """
    path = folder / _LEASE
    with guard(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # A POSIX lock ends with its process, so a killed run never blocks the next one.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(descriptor)
        raise CheckpointError(
            f"another process is writing to {folder}.", "Wait for it or stop it, or set another output_dir."
        ) from None
    except OSError as error:
        return descriptor, [f"{folder} has no file locks ({error.strerror}): start one run at a time there."]
    return descriptor, []
