"""A file's bytes, hashed and unpacked, and its text, checked and read line by line however long it is."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader, FileIO, TextIOWrapper
from pathlib import Path

from rung.data.spool import unnamed_file, write_out
from rung.errors import DataError

_AT_ONCE = 1 << 20
_HEAD = 1_000_000
_FOREIGN = {
    b"PK\x03\x04": "a zip or Excel file",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """A file's content, at its start.

    Attributes:
        file: The bytes, unpacked where they were packed.
        sha256: Of the bytes as they are stored.
        start: The first bytes.
        packed: Whether they were in gzip.
    """

    file: BufferedReader
    sha256: str
    start: bytes
    packed: bool


def open_stored(path: str) -> Stored:
    """Open a file (or a pipe, which is copied first), hash it and unpack it.

    Raises:
        DataError: It can't be read, or is damaged.
        StorageError: A copy finds no room.
    """
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - it stays open as long as its text is read
        if not file.seekable():
            with file as pipe:
                file = _copied(pipe)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}", "Check its permissions.") from None
    file.seek(0)
    packed = file.peek(2)[:2] == b"\x1f\x8b"
    if packed:
        try:
            with file as stored, gzip.GzipFile(fileobj=stored) as unpacked:
                file = _copied(unpacked)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: damaged gzip file: {error}", "Copy or download it again.") from None
    return Stored(file, sha256, file.peek(16)[:16], packed)


def _copied(source: BufferedReader | gzip.GzipFile) -> BufferedReader:
    copy = unnamed_file()
    try:
        while block := source.read(_AT_ONCE):
            write_out(copy, block)
    except BaseException:
        copy.close()
        raise
    copy.seek(0)
    return BufferedReader(copy)


class Text:
    """A file's text, read as often as it takes.

    Args:
        path: The file's name, for messages.
        stored: Its content.

    Attributes:
        path: The file's name.
        is_blank: Whether there is nothing but white space.
        has_line_feeds: Whether lines end with a line feed anywhere.
        head: The first million characters, and the whole first line in any case.

    Raises:
        DataError: It is another kind of file, or no UTF-8 (with the line).
    """

    def __init__(self, path: str, stored: Stored) -> None:
        self.path = path
        self._file = stored.file
        for start, kind in _FOREIGN.items():
            if stored.start.startswith(start):
                raise DataError(f"{path} is {kind}", "Save it as CSV or JSON lines, in UTF-8.")
        self.is_blank, self.has_line_feeds = self._survey()
        self.head = self._head()

    def whole(self) -> str:
        """All of it."""
        return "".join(self.lines("\n"))

    def lines(self, newline: str) -> Iterator[str]:
        """Lines with their ends.

        Args:
            newline: What ends a line; "" = a line feed, a carriage return, or both.
        """
        self._file.seek(0)
        # A reader of its own over the open file: letting go of it closes nothing.
        raw = FileIO(self._file.fileno(), closefd=False)
        return TextIOWrapper(BufferedReader(raw), encoding="utf-8-sig", newline=newline)

    def _survey(self) -> tuple[bool, bool]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        is_blank, line_feeds, is_first = True, 0, True
        self._file.seek(0)
        while True:
            block = self._file.read(_AT_ONCE)
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                line = 1 + line_feeds + error.object.count(b"\n", 0, error.start)
                byte = error.object[error.start]
                todo = "Save the file as UTF-8 (from Latin-1: iconv -f latin1 -t utf-8)."
                raise DataError(f"{self.path}:{line}: byte 0x{byte:02x} is not UTF-8", todo) from None
            # Text knows more signs for a blank than bytes do.
            is_blank = is_blank and not (text.removeprefix("\ufeff") if is_first else text).strip()
            line_feeds += text.count("\n")
            is_first = False
            if not block:
                return is_blank, line_feeds > 0

    def _head(self) -> str:
        parts, size, is_filled = [], 0, False
        for line in self.lines("\n"):
            parts.append(line)
            size += len(line)
            is_filled = is_filled or bool(line.strip())
            if size >= _HEAD and is_filled:
                break
        return "".join(parts)
