"""What the disk refuses, in the user's words."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rung.errors import StorageError

_REASONS = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would pass the size limit of this process or file system",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "the operation is not permitted",
    errno.EIO: "the disk reports an input/output error",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a file stands where a folder should go",
    errno.EISDIR: "a folder stands where the file should go",
    errno.ENAMETOOLONG: "the name is too long",
}
_RUST = re.compile(r"\(os error (\d+)\)")


@contextmanager
def guard(path: Path, needed: int = 0, doing: str = "write") -> Iterator[None]:
    """Turn the disk's refusals into a `StorageError` that names the path and, where known, the bytes.

    Args:
        path: What is being written or read.
        needed: Bytes it takes; 0 when unknown.
        doing: `write` or `read`.
    """
    try:
        yield
    except Exception as error:
        reason = _REASONS.get(_number(error))
        if reason is None:
            raise
        need = f"{needed:,} bytes needed, " if needed else ""
        space = f" ({need}{free_bytes(path):,} bytes free)" if doing == "write" else ""
        raise StorageError(
            f"can't {doing} {path}: {reason}{space}. Nothing saved earlier was touched.",
            "Mend that or set output_dir to another disk, then give the same command again.",
        ) from error


def _number(error: Exception) -> int:
    """The system's number of an error, 0 when it has none; libraries written in Rust give it in their words alone."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = _RUST.search(str(error))
    return int(found[1]) if found else 0


def free_bytes(path: Path) -> int:
    """Bytes this user may still write on the disk that holds `path`, or its nearest parent that exists."""
    return shutil.disk_usage(next(place for place in (path, *path.absolute().parents) if place.exists())).free
