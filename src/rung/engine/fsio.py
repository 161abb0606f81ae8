"""Durable writes: the one module through which everything that must survive a crash goes.

A file is staged beside its target, synced, renamed over it, and its folder synced, so that a reader finds the old
bytes or the new ones and never half of either. A folder is staged and renamed in the same way, and never over another.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.engine.diskfaults import guard
from rung.errors import StorageError

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST = "MANIFEST.json"
"""Marks a folder that this product wrote, and so may remove."""

observer: Callable[[str, Path], None] | None = None
"""Called as `observer(event, path)` before each step on the disk: `create`, `write`, `fsync`, `rename` (with the old
name), `unlink`, `mkdir`, `rmdir`. Crash tests stop the process here."""

_STAGE = re.compile(r"\.stage-.+-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Written:
    """What a write put on the disk: the bytes' number and SHA-256, computed while they were written."""

    size: int
    sha256: str


def write_bytes(path: Path, data: bytes) -> Written:
    """Replace the file `path` by `data`, atomically and durably; parent folders are made.

    Raises:
        StorageError: It can't be written; the old file, if any, is as it was.
    """
    return _replace(path, [data], len(data))


def write_text(path: Path, text: str) -> Written:
    """Replace the file `path` by `text` in UTF-8, like `write_bytes`."""
    return write_bytes(path, encode(text))


def write_json(path: Path, value: Any) -> Written:
    """Replace the file `path` by `value` as JSON, like `write_bytes`. NaN and infinity are a ValueError."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Written:
    """Replace the file `path` by tensors in the safetensors format, like `write_bytes`.

    The bytes depend on names, values and metadata alone, not on the mapping's order. One tensor at a time is copied
    to the host, so memory does not double.
    """
    # Imported here because the light commands write JSON through this module and need no torch.
    from rung.engine.tensorbytes import safetensors_pieces

    size, pieces = safetensors_pieces(tensors, metadata)
    return _replace(path, pieces, size)


def append_line(path: Path, text: str, *, durable: bool = False) -> None:
    """Append one line (`text` and a newline) to a log; parent folders are made.

    Args:
        path: The log.
        text: The line, without a newline.
        durable: Sync the log up to here, so that it outlives a power cut; do so before a checkpoint counts it.

    Raises:
        StorageError: It can't be written; no half line is left.
    """
    line = encode(text + "\n")
    with guard(path, len(line)):
        make_folder(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, path, line)
            except OSError:
                # The first error is the one to report.
                with suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
            if durable:
                _sync(descriptor, path)
                _sync_path(path.parent)
        finally:
            os.close(descriptor)


def keep_lines(path: Path, count: int) -> None:
    """Cut a log back to its first `count` whole lines: a resumed run drops what it will write again.

    Raises:
        StorageError: It can't be rewritten; the log is as it was.
    """
    with guard(path):
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith(b"\n")][:count]
    if len(whole) < len(lines):
        write_bytes(path, b"".join(whole))


@contextmanager
def staged_directory(final: Path) -> Iterator[Path]:
    """Make a folder all at once: yields a private folder beside `final`, which becomes `final` when the block ends.

    Every file in it is synced first. When the block raises, the staged folder is removed and `final` does not appear.

    Raises:
        StorageError: `final` exists already, or the disk refuses; nothing that was there before is touched.
    """
    _require_absent(final)
    stage = _stage_name(final)
    with guard(final):
        make_folder(final.parent)
        _observe("mkdir", stage)
        stage.mkdir(mode=0o700)
    try:
        yield stage
        with guard(final):
            sync_tree(stage)
            _require_absent(final)
            rename(stage, final)
    except BaseException:
        # The first error is the one to report; what can't be removed now is swept by the next writer.
        with suppress(OSError, StorageError):
            if stage.exists():
                remove_tree(stage)
        raise


def sync_tree(folder: Path) -> None:
    """Sync every file and folder in `folder`, and itself, children first; raises StorageError when the disk refuses."""
    with guard(folder):
        for parent, _, files in os.walk(folder, topdown=False):
            for path in (*(Path(parent, name) for name in sorted(files)), Path(parent)):
                _sync_path(path)


def rename(source: Path, target: Path) -> None:
    """Rename and make the new name durable. The two must be on one file system.

    Raises:
        StorageError: The disk refuses; `source` stays.
    """
    with guard(target):
        _observe("rename", source)
        source.rename(target)
        _sync_path(target.parent)
        if source.parent != target.parent:
            _sync_path(source.parent)


def make_folder(folder: Path) -> None:
    """Make `folder` and its missing parents, durably; raises StorageError when the disk refuses."""
    with guard(folder):
        if not folder.is_dir():
            make_folder(folder.parent)
            _observe("mkdir", folder)
            folder.mkdir(exist_ok=True)
            _sync_path(folder.parent)


def remove_tree(folder: Path) -> None:
    """Remove a folder that this product wrote: one with a manifest, or one left behind half-made.

    It loses its name first: a crash leaves no folder of that name with files missing.

    Raises:
        ValueError: It is a link, not a folder, or not ours.
        StorageError: The disk refuses.
    """
    ours = _STAGE.fullmatch(folder.name) or (folder / MANIFEST).is_file()
    if folder.is_symlink() or not folder.is_dir() or not ours:
        raise ValueError(f"{folder} is not a folder written here; it is left alone")
    with guard(folder):
        if not _STAGE.fullmatch(folder.name):
            stage = _stage_name(folder)
            rename(folder, stage)
            folder = stage
        for parent, folders, files in os.walk(folder, topdown=False):
            links = [name for name in folders if Path(parent, name).is_symlink()]
            for name in sorted(files + links):
                _unlink(Path(parent, name))
            _observe("rmdir", Path(parent))
            Path(parent).rmdir()


def sweep(folder: Path) -> None:
    """Remove what writers that died left half-made in `folder`. Only its sole writer may call this.

    Raises:
        StorageError: The disk refuses.
    """
    with guard(folder):
        for entry in sorted(folder.iterdir() if folder.is_dir() else ()):
            if _STAGE.fullmatch(entry.name):
                if entry.is_dir() and not entry.is_symlink():
                    remove_tree(entry)
                else:
                    _unlink(entry)


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def encode(text: str) -> bytes:
    """UTF-8. A lone surrogate, which UTF-8 has no bytes for, becomes its JSON escape (so JSON stays exact)."""
    return text.encode("utf-8", errors="backslashreplace")


def _replace(path: Path, pieces: Iterable[bytes | memoryview], size: int) -> Written:
    with guard(path, size):
        make_folder(path.parent)
        stage = _stage_name(path)
        try:
            written = _create(stage, pieces)
            rename(stage, path)
        except BaseException:
            # As in staged_directory: the first error is the one to report.
            with suppress(OSError):
                _unlink(stage)
            raise
    return written


def _create(path: Path, pieces: Iterable[bytes | memoryview]) -> Written:
    digest, size = hashlib.sha256(), 0
    _observe("create", path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        for piece in pieces:
            _write_all(descriptor, path, piece)
            digest.update(piece)
            size += len(piece)
        _sync(descriptor, path)
    finally:
        os.close(descriptor)
    return Written(size, digest.hexdigest())


def _write_all(descriptor: int, path: Path, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        _observe("write", path)
        rest = rest[os.write(descriptor, rest) :]


def _sync(descriptor: int, path: Path) -> None:
    _observe("fsync", path)
    os.fsync(descriptor)


def _sync_path(path: Path) -> None:
    if not stat.S_ISLNK(path.lstat().st_mode):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _sync(descriptor, path)
        finally:
            os.close(descriptor)


def _unlink(path: Path) -> None:
    _observe("unlink", path)
    path.unlink()


def _stage_name(path: Path) -> Path:
    return path.with_name(f".stage-{path.name}-{secrets.token_hex(8)}")


def _require_absent(final: Path) -> None:
    if os.path.lexists(final):
        raise StorageError(f"{final} exists already; it is never written over.", "Move it, or choose another name.")


def _observe(event: str, path: Path) -> None:
    if observer is not None:
        observer(event, path)
