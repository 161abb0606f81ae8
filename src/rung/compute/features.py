"""Features of a frozen body: computed once, kept on disk, read by memory map.

A file holds the features of a few batches of texts. Its name is a hash of all that decides their bits: the weights as
they are in memory, the code and the machine that compute, how texts become vectors, and the token ids batch by batch
(a text's bits depend on the texts it is computed beside). So nothing in the folder is ever out of date, and a run with
it gives the same bytes as a run without. A file that can't be trusted is made again; one that can't be written costs
the time of computing, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from rung.models.cache import cache_root, free_bytes, storage_error
from rung.models.families import Family
from rung.types import Tokens

CAP_BYTES = 4 << 30
"""Bytes that the folder may hold: beyond, the files longest unused go."""
SPARE_BYTES = 1 << 30
"""Bytes that must stay free on the disk: checkpoints come first."""
STALE_SECONDS = 3600.0
"""A half-written file of this age was left by a process that died."""

Compute = Callable[[Sequence[Tokens]], torch.Tensor]

_NAME = "features"
_IDENTITY = "identity"
_log = logging.getLogger(__name__)


def features_root() -> Path:
    """The folder of all feature files, in the cache."""
    return cache_root() / "features"


def body_hash(family: Family, below: Mapping[str, torch.Tensor], described: Sequence[object]) -> str:
    """The identity of what turns texts into features: weights, settings, code, machine.

    Args:
        family: The model; its weights are read as they are now, those of wrapped layers too.
        below: Tensors of earlier runs that are not among the model's modules.
        described: What else describes the earlier runs, as JSON values.

    Returns:
        A SHA-256 in hex.
    """
    config = {name: value for name, value in family.module.config.to_dict().items() if not name.startswith("_")}
    settings = {
        "body": type(family.body).__name__,
        "config": config,
        "flat": family.flat,
        "fused": [name for name, part in family.body.named_modules() if "forward" in vars(part)],
        "described": list(described),
        "device": str(family.embedding.weight.device),
        "threads": torch.get_num_threads(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "matmul": torch.get_float32_matmul_precision(),
        "versions": [version(name) for name in ("rung", "torch", "transformers")],
        "code": _code_hash(),
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    tensors = dict(family.body.named_parameters()) | dict(family.body.named_buffers()) | family.body.state_dict()
    for name, tensor in sorted((tensors | {f"below.{name}": value for name, value in below.items()}).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


class FeatureStore:
    """The features that one frozen body gives.

    Args:
        body: The body's identity (see `body_hash`).
        folder: Where files lie; None = the cache's own folder.
    """

    def __init__(self, body: str, folder: Path | None = None) -> None:
        self.body = body
        self.folder = folder or features_root()

    def features(self, batches: Sequence[Sequence[Tokens]], pooling: str, compute: Compute) -> torch.Tensor:
        """The features of some batches, computed only if no good file has them.

        Args:
            batches: Texts as they are computed together.
            pooling: How a text becomes a vector.
            compute: `[n, H]` features of one batch.

        Returns:
            `[texts, H]`, batch by batch: read from the disk when needed, not to be written to.
        """
        key = self._key(batches, pooling)
        path = self.folder / f"{key}.safetensors"
        count = sum(len(batch) for batch in batches)
        found = _read(path, key, count)
        if found is not None:
            return found
        made = torch.cat([compute(batch).cpu() for batch in batches])
        if not self._keep(path, key, made):
            return made
        mapped = _read(path, key, count)
        return made if mapped is None else mapped

    def _key(self, batches: Sequence[Sequence[Tokens]], pooling: str) -> str:
        digest = hashlib.sha256(f"{self.body} {pooling}\n".encode())
        for batch in batches:
            digest.update(f"{len(batch)}\n".encode())
            for text in batch:
                digest.update(json.dumps([text.input_ids, text.token_type_ids, text.adapter]).encode() + b"\n")
        return digest.hexdigest()

    def _keep(self, path: Path, key: str, made: torch.Tensor) -> bool:
        """Write a file beside its place and rename it; whether it is there now."""
        stage = self.folder / f".stage-{key}-{secrets.token_hex(8)}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            data = save({_NAME: made}, {_IDENTITY: _identity(key, made)})
            if free_bytes(self.folder) < len(data) + SPARE_BYTES:
                return False
            try:
                descriptor = os.open(stage, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                stage.replace(path)
            finally:
                stage.unlink(missing_ok=True)
            prune(self.folder, path)
        except OSError as error:
            _log.warning("features are computed again each time: %s", storage_error(error, self.folder).what)
            return False
        return True


def prune(folder: Path, keep: Path) -> None:
    """Remove what processes that died left half-written, and beyond `CAP_BYTES` the files longest unused.

    A process that still reads a removed file keeps it until it ends.

    Args:
        folder: The folder of feature files.
        keep: A file that stays, however large.
    """
    for stage in folder.glob(".stage-*"):
        with suppress(OSError):
            if time.time() - stage.stat().st_mtime > STALE_SECONDS:
                stage.unlink()
    files: list[tuple[float, int, Path]] = []
    for path in folder.glob("*.safetensors"):
        with suppress(FileNotFoundError):  # another process prunes too
            state = path.stat()
            files.append((state.st_mtime, state.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= CAP_BYTES:
            return
        if path != keep:
            with suppress(OSError):
                path.unlink()
            total -= size


def _read(path: Path, key: str, count: int) -> torch.Tensor | None:
    """The tensor of a file, mapped, if the file is there, whole, and the one asked for."""
    try:
        with safe_open(path, framework="pt") as file:
            described = file.metadata() or {}
            found = file.get_tensor(_NAME)
        if described.get(_IDENTITY) == _identity(key, found) and len(found) == count:
            with suppress(OSError):
                os.utime(path)
            return found
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError) as error:
        _log.warning("%s can't be read (%s): its features are computed again", path, error)
        return None
    _log.warning("%s does not hold what its name says: its features are computed again", path)
    return None


def _identity(key: str, values: torch.Tensor) -> str:
    """What a file says of itself: whose features it holds, and a checksum of them."""
    return f"{key} {hashlib.sha256(_bytes(values)).hexdigest()}"


def _bytes(tensor: torch.Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


@cache
def _code_hash() -> str:
    """What computes: a change of a line here or in a model's parts makes all features anew."""
    folder = Path(__file__).parent
    sources: Iterable[Path] = [*sorted(folder.glob("*.py")), folder.parent / "models" / "families.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources if path.is_file())).hexdigest()
