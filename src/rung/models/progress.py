"""How far a download is: a bar on a terminal, a plain line at its start and its end elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.progress import Progress as Bar


class Progress:
    """Progress of one download, in bytes.

    Args:
        label: What is being fetched.
        total: Its size in bytes, or None when it is not known.
    """

    def __init__(self, label: str, total: int | None) -> None:
        self._label = label
        self._total = total
        self._started = 0.0
        console = Console(stderr=True)
        self._bar = (
            Bar(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=console)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Progress:
        self._started = time.monotonic()
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task(f"fetching {self._label}", total=self._total)
        else:
            size = f" ({self._total / 1e6:.0f} MB)" if self._total else ""
            print(f"fetching {self._label}{size}", file=sys.stderr)
        return self

    def update(self, done: int) -> None:
        """Say that `done` bytes have arrived."""
        if self._bar:
            self._bar.update(self._task, completed=done)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            if kind is None and self._total:
                self._bar.update(self._task, completed=self._total)
            self._bar.stop()
        elif kind is None:
            print(f"fetching {self._label}: {time.monotonic() - self._started:.0f} s", file=sys.stderr)
