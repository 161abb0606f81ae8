"""Stopped from outside: Ctrl-C, `kill`, a terminal that closes. The command ends soon, whatever it is at."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_SECONDS = 8.0
"""How long what is going on may take to end in good order; then the process ends at once. Nothing saved is lost."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(KeyboardInterrupt):
    """A signal asked the command to stop.

    Attributes:
        exit_code: 128 and the signal's number, as shells have it.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first signal into a `StoppedError`; a second ends the process at once.

    An exception can get lost, as in a destructor, or has to wait for a long computation to return. So a thread, told of
    the signal by the system itself, sees to it that the process ends some seconds later.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, tell = os.pipe()
    os.set_blocking(tell, False)
    done = threading.Event()
    watcher = threading.Thread(target=_end_after, args=(heard, done), daemon=True)
    watcher.start()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    earlier = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    for number, handler in before.items():
        # What was started in the background, or under nohup, is not to hear this signal.
        if handler is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    finally:
        done.set()
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(earlier)
        os.close(tell)
        watcher.join()
        os.close(heard)


def _stop(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, lambda again, _: os._exit(128 + again))
    raise StoppedError(number)


def _end_after(heard: int, done: threading.Event) -> None:
    """Wait for the first signal's number, or for the pipe's end; then for the command to be done."""
    number = os.read(heard, 1)
    if number and not done.wait(GRACE_SECONDS):
        os._exit(128 + number[0])
