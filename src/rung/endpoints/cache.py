"""Answers of endpoints on the disk, so that no request is paid for twice."""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rung.engine import fsio
from rung.engine.diskfaults import guard
from rung.engine.manifest import DamagedError, read_sealed, write_sealed

_LOOK_AGAIN = 0.05
_TAKEN = {errno.EACCES, errno.EAGAIN}


def request_key(url: str, route: str, body: Mapping[str, Any], scored: int = 0) -> str:
    """The content key of a request: address, route, model and every setting in the body. No secret is in it.

    Args:
        url: The endpoint's base.
        route: What stands behind it.
        body: The request.
        scored: Characters at the prompt's end that are scored: they decide what of the answer is kept.
    """
    # Escaped, unlike a config's hash: a row may hold signs that UTF-8 has no bytes for.
    asked = {"url": url, "route": route, "body": dict(body), "scored": scored}
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def responses(folder: Path) -> Responses:
    """The one cache of a folder in this process: POSIX locks belong to a process, not to whoever took them."""
    return Responses(folder)


class Responses:
    """A folder of answers, one file each, written whole or not at all; use `responses` to get one.

    Args:
        folder: Where they lie; made when the first one is claimed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._guard = threading.Lock()
        self._claims: dict[str, tuple[threading.Lock, int]] = {}
        self._descriptor: int | None = None

    def read(self, key: str) -> dict[str, Any] | None:
        """The answer kept under a key; None where there is none, or it is not as it was written."""
        try:
            return read_sealed(self._path(key))
        except DamagedError:
            return None

    def write(self, key: str, body: dict[str, Any]) -> None:
        """Keep an answer, atomically and durably.

        Raises:
            StorageError: The disk refuses.
        """
        write_sealed(self._path(key), body)

    @contextmanager
    def claim(self, key: str, stop: threading.Event) -> Iterator[None]:
        """Be the only one, of all threads and processes, to ask for a key; others wait and then find the answer.

        Args:
            key: The request's.
            stop: Ends the waiting for other processes.
        """
        with self._guard:
            lock, users = self._claims.get(key, (threading.Lock(), 0))
            self._claims[key] = lock, users + 1
        try:
            with lock, self._between_processes(key, stop):
                yield
        finally:
            with self._guard:
                lock, users = self._claims.pop(key)
                if users > 1:
                    self._claims[key] = lock, users - 1

    @contextmanager
    def _between_processes(self, key: str, stop: threading.Event) -> Iterator[None]:
        """Lock one byte of the lock file, at a place that the key names: ends with the process, and needs no file each.

        It is asked for again and again rather than waited for: the system takes two processes that each hold a key and
        want another for a deadlock, though their threads never hold one while they wait.
        """
        descriptor, place = self._lock_file(), int(key[:15], 16)
        taken = False
        while not taken and not stop.is_set():
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                taken = True
            except OSError as error:
                if error.errno not in _TAKEN:
                    break  # a file system without locks: two processes may both ask, and each file is whole even so
                stop.wait(_LOOK_AGAIN)
        try:
            yield
        finally:
            if taken:
                fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, place)

    def _lock_file(self) -> int:
        with self._guard:
            if self._descriptor is None:
                fsio.make_folder(self.folder)
                path = self.folder / ".lock"
                with guard(path):
                    self.folder.chmod(0o700)
                    self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            return self._descriptor

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"
