"""The cache folder: one writer at a time, and a folder is either whole or not there."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from rung.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def cache_root() -> Path:
    """The cache folder: `RUNG_CACHE`, or the platform's own place for caches. It may not exist yet."""
    chosen = os.environ.get("RUNG_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else user_cache_path("rung", appauthor=False)


def models_root() -> Path:
    """The folder below which fetched models lie."""
    return cache_root() / "models"


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a failed write below `path` into a `StorageError` that names the place and the free space."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) from error


def storage_error(error: OSError, path: Path) -> StorageError:
    """What a failed write means for the user: the place, the cause, the room that is left."""
    if error.errno not in _FULL:
        return StorageError(
            f"can't write below {path}: {error.strerror or error}.",
            "Make it writable, or point RUNG_CACHE to a folder that is.",
        )
    return no_space(path)


def no_space(path: Path, needed: int | None = None) -> StorageError:
    """The error for a full disk; `needed` bytes, when known, are named."""
    want = f", needed {_megabytes(needed)}" if needed else ""
    return StorageError(
        f"no space left below {path}: free {_megabytes(free_bytes(path))}{want}. Nothing half-made was kept.",
        "Free some space, or point RUNG_CACHE to a bigger disk.",
    )


def free_bytes(path: Path) -> int:
    """Bytes free on the disk that holds `path` (or will hold it, when it does not exist yet)."""
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(existing).free


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the cache's lock `name`; other processes (and threads) wait. Released by the system when a holder dies.

    Args:
        name: What is being made, for example a model's folder name.
    """
    folder = cache_root() / "locks"
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"waiting: another process is making {name}", file=sys.stderr)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def stage(target: Path) -> Iterator[Path]:
    """A private folder beside `target` that becomes `target` when the block ends well, and vanishes when not.

    The caller holds `locked(target.name)`, so a stage that is already there was left by a process that died: it is
    removed first. Every file and folder is flushed to the disk before the rename, so a power cut leaves all or nothing.

    Args:
        target: The folder to publish; must not exist yet.
    """
    with storage_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left_over in target.parent.glob(f".{target.name}.stage-*"):
            shutil.rmtree(left_over)
        folder = target.parent / f".{target.name}.stage-{os.getpid()}-{secrets.token_hex(4)}"
        folder.mkdir(mode=0o700)
    try:
        yield folder
        with storage_errors(target.parent):
            _flush(folder)
            folder.rename(target)
            _flush_one(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _flush(folder: Path) -> None:
    for parent, _, files in os.walk(folder):
        for name in files:
            _flush_one(Path(parent) / name)
        _flush_one(Path(parent))


def _flush_one(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows can't open a folder to flush it
        return
    handle = os.open(path, os.O_RDWR if path.is_file() and os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
