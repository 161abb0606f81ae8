"""Journals such as `search.jsonl`: every evaluation of a prompt, on the disk before the next one begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rung.engine import fsio
from rung.engine.diskfaults import guard
from rung.errors import ArtifactError


class DurableJournal:
    """A journal in a file of its run's folder; a run that was killed finds there all it had evaluated.

    The first line names the run. A line that a power cut tore is dropped, and its evaluations are done again.

    Args:
        path: The file; made with the first entry.
        identity: The run's.
        holds: What is in it, for errors.

    Raises:
        ArtifactError: The file is of a run of other settings or rows, or damaged.
    """

    def __init__(self, path: Path, identity: str, holds: str = "an unfinished search") -> None:
        self.path = path
        self._holds = holds
        self.identity = identity
        self.replayed = 0.0
        """Seconds that entries took which it held when it was opened, and which were asked for since."""
        self._old: set[str] = set()
        self._kept: dict[str, Any] = {}
        with guard(path, doing="read"):
            data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            fsio.write_bytes(path, whole)
        self._empty = not whole
        for number, line in enumerate(whole.splitlines(), start=1):
            self._read(line, number)

    def get(self, key: str) -> Any:
        """What was put under a key, or None."""
        if key in self._old:
            self._old.remove(key)
            self.replayed += float(self._kept[key].get("seconds", 0.0))
        return self._kept.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keep a value: it is on the disk when this returns."""
        if self._empty:
            fsio.append_line(self.path, json.dumps({"identity": self.identity}), durable=True)
            self._empty = False
        line = json.dumps({"key": key, **value}, ensure_ascii=False, allow_nan=False)
        fsio.append_line(self.path, line, durable=True)
        self._kept[key] = value

    def _read(self, line: bytes, number: int) -> None:
        try:
            entry = json.loads(line)
            if number == 1:
                self._require_own(entry["identity"])
                return
            key = entry.pop("key")
            self._kept[key] = entry
            self._old.add(key)
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{self.path}:{number} is damaged: {error}", "Run again with --fresh.") from error

    def _require_own(self, identity: str) -> None:
        if identity != self.identity:
            raise ArtifactError(
                f"{self.path.parent} holds {self._holds} of other settings or rows",
                "Choose another output_dir, or run with --fresh: what is there is then kept aside.",
            )
