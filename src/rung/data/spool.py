"""What is too much for memory, in unnamed files of the folder for temporary files (`TMPDIR`).

Such a file has no name that another process could open, is never found half written, and is gone with its process,
however that ends. It is read by position and not mapped, so that what was read counts for no process's memory.
"""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from array import array
from collections.abc import Iterable
from io import FileIO
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rung.data.views import View
from rung.errors import StorageError

_AT_ONCE = 1 << 20
_SMALL = 8 << 20


class Spool(View[bytes]):
    """Byte strings in a file: memory holds eight bytes for each, and the last megabyte. Fewer never reach the disk."""

    def __init__(self) -> None:
        self._file: FileIO | None = None
        self._ends = array("q", [0])
        self._written = 0
        self._pending = bytearray()

    def append(self, item: bytes) -> None:
        """Add one at the end.

        Raises:
            StorageError: The disk is full.
        """
        self._pending += item
        self._ends.append(self._ends[-1] + len(item))
        if len(self._pending) >= _AT_ONCE:
            if self._file is None:
                self._file = unnamed_file()
                weakref.finalize(self, self._file.close)
            write_out(self._file, self._pending)
            self._written += len(self._pending)
            self._pending = bytearray()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def item(self, index: int) -> bytes:
        """Read it back."""
        start, end = self._ends[index], self._ends[index + 1]
        if start >= self._written:
            return bytes(self._pending[start - self._written : end - self._written])
        assert self._file is not None
        found = os.pread(self._file.fileno(), end - start, start)
        assert len(found) == end - start, f"item {index}: {len(found)} of {end - start} bytes"
        return found


class JsonSpool(View[Any]):
    """JSON values in a file; they come back equal, keys in order (tuples as lists)."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self._bytes = Spool()
        self.extend(values)

    def append(self, value: Any) -> None:
        """Add one at the end."""
        # Half of a surrogate pair has no bytes in UTF-8: it is kept for whoever refuses it, with its place.
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        self._bytes.append(text.encode("utf-8", errors="surrogatepass"))

    def extend(self, values: Iterable[Any]) -> Self:
        """Add several."""
        for value in values:
            self.append(value)
        return self

    def __len__(self) -> int:
        return len(self._bytes)

    def item(self, index: int) -> Any:
        """Read it back."""
        return json.loads(self._bytes.item(index).decode("utf-8", errors="surrogatepass"))


def unnamed_file() -> FileIO:
    """A file open for reading and writing, unbuffered, that no folder lists.

    Raises:
        StorageError: None can be made.
    """
    try:
        return tempfile.TemporaryFile(prefix="rung-", buffering=0)
    except OSError as error:
        raise _no_room(error) from None


def write_out(file: FileIO, data: bytes | bytearray) -> None:
    """Write all of `data` at the end of an unnamed file.

    Raises:
        StorageError: The disk is full.
    """
    view = memoryview(data)
    try:
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        raise _no_room(error) from None


def mapped_array(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros of this shape; more than a few megabytes in an unnamed file, mapped: memory holds what it has room for.

    Raises:
        StorageError: The disk is full.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size <= _SMALL:
        return np.zeros(shape, dtype)
    with unnamed_file() as file:
        # Written now: a mapped page that finds no room on the disk later would end the process.
        for start in range(0, size, _AT_ONCE):
            write_out(file, bytes(min(_AT_ONCE, size - start)))
        return np.memmap(file, dtype=dtype, mode="r+", shape=shape)


def _no_room(error: OSError) -> StorageError:
    folder = tempfile.gettempdir()
    return StorageError(
        f"{folder}: rows can't be kept there: {error.strerror}",
        "Free some space, or set TMPDIR to a folder on a disk that has some.",
    )
