"""Every moment at which a run touches the disk, counted; at one of them, something happens."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from rung.engine import fsio

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}
_WRITES = os.O_WRONLY | os.O_RDWR


class Points:
    """Calls `act` at the n-th time that this process is about to change something below `folder`.

    It sees what `fsio` reports, each write and sync included, and through an audit hook what any other Python code
    opens for writing, renames or removes there. A process can't take an audit hook off again: use it in a child.

    Args:
        folder: Where changes count.
        point: The moment, from 1; 0 = never, to count alone.
        act: What happens then.
        lasting: Whether it happens at every later moment too.
    """

    def __init__(
        self, folder: Path, point: int = 0, act: Callable[[], None] = lambda: None, *, lasting: bool = False
    ) -> None:
        self.folder, self.point, self.act, self.lasting = str(folder), point, act, lasting
        self.seen = 0
        self._announced = ""

    def watch(self) -> None:
        """Begin to count."""
        fsio.observer = self._observed
        sys.addaudithook(self._audited)

    def _observed(self, event: str, path: Path) -> None:
        self._announced = str(path)
        self._reached()

    def _audited(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & _WRITES or not self._is_ours(path):
                return
        elif event not in _CHANGES or not self._is_ours(arguments[0], within=event == "os.remove"):
            return
        if str(arguments[0]) == self._announced:
            # What fsio is about to do was counted when it said so.
            self._announced = ""
            return
        self._reached()

    def _is_ours(self, path: object, within: bool = False) -> bool:
        # Removing a whole tree names its files relative to an open folder.
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        return text.startswith(self.folder) or (within and "/" not in text)

    def _reached(self) -> None:
        self.seen += 1
        if self.seen == self.point or (self.lasting and 0 < self.point < self.seen):
            self.act()


def kill() -> None:
    """`kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    """What a full disk answers."""
    raise OSError(errno.ENOSPC, "No space left on device")


def limit(size: int) -> Callable[[], None]:
    """From here on no file may grow past `size` bytes: what was written up to it stays, torn."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
