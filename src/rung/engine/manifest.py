"""What a checkpoint claims to hold, sealed by its own hash, and whether it does."""

from __future__ import annotations

import hashlib
import json
import platform
import stat
from pathlib import Path
from typing import Any

import safetensors
import torch

from rung.config.base import Config
from rung.engine import fsio
from rung.engine.diskfaults import guard


class DamagedError(Exception):
    """Something on the disk is not what was written there; the text says what. Never reaches the user as it is."""


class FileEntry(Config):
    """One file as it was written."""

    size: int
    """Bytes."""
    sha256: str
    """Hash of the bytes, in hex."""


class Manifest(Config):
    """The last file a checkpoint gets: with it the checkpoint is whole, without it there is none."""

    step: int
    """Optimizer steps taken."""
    cursor: int
    """Where the data goes on, in optimizer steps."""
    run_id: str
    """The run that wrote it."""
    config_hash: str
    """The settings it was written under."""
    parent: int | None
    """Step of the checkpoint this run saved or resumed from before; None for the first."""
    best_step: int | None
    """Step of the best checkpoint up to here; None when none was marked best."""
    files: dict[str, FileEntry]
    """What the folder holds."""
    versions: dict[str, str]
    """Libraries that decide the bytes."""

    def write(self, folder: Path) -> None:
        """Write it, sealed, into `folder`."""
        write_sealed(folder / fsio.MANIFEST, self.model_dump())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a checkpoint, without looking at the other files.

        Raises:
            DamagedError: The folder or its manifest is missing or not as written.
        """
        if folder.is_symlink() or not folder.is_dir():
            raise DamagedError(f"{folder.name} is not a folder")
        manifest = cls.model_validate(read_sealed(folder / fsio.MANIFEST))
        if folder.name != f"step-{manifest.step}":
            raise DamagedError(f"its manifest is of step {manifest.step}")
        return manifest

    def verify(self, folder: Path) -> None:
        """Read every file back and compare it with what was written.

        Raises:
            DamagedError: A file is missing or differs.
        """
        for name, entry in self.files.items():
            path = folder / name
            try:
                found = path.lstat()
                if not stat.S_ISREG(found.st_mode):
                    raise DamagedError(f"{name} is not a regular file")
                if found.st_size != entry.size:
                    raise DamagedError(f"{name} has {found.st_size:,} bytes, {entry.size:,} were written")
                with guard(path, doing="read"):
                    digest = fsio.sha256_file(path)
            except FileNotFoundError:
                raise DamagedError(f"{name} is missing") from None
            if digest != entry.sha256:
                raise DamagedError(f"{name} holds other bytes than were written")


def current_versions() -> dict[str, str]:
    """The versions of what decides a checkpoint's bytes."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "safetensors": safetensors.__version__,
    }


def write_sealed(path: Path, body: dict[str, Any]) -> None:
    """Write a JSON object with its own SHA-256 beside its keys, so that a flipped bit shows."""
    fsio.write_json(path, body | {"sha256": _seal(body)})


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what `write_sealed` wrote.

    Raises:
        DamagedError: It is missing, no JSON object, or not as written.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise DamagedError(f"{path.name} is not a regular file")
        with guard(path, doing="read"):
            body = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DamagedError(f"{path.name} is missing") from None
    except (ValueError, RecursionError):
        raise DamagedError(f"{path.name} is cut off or garbled") from None
    if not isinstance(body, dict) or body.pop("sha256", None) != _seal(body):
        raise DamagedError(f"{path.name} holds other bytes than were written")
    return body


def _seal(body: dict[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
