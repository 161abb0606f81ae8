"""Which run a folder holds: settings, rows, base weights and machine choices, and nothing else."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rung.config.hashing import config_hash
from rung.engine import fsio
from rung.engine.manifest import DamagedError, read_sealed
from rung.errors import ArtifactError
from rung.models.facts import ModelFacts
from rung.run.config import RunConfig
from rung.run.prepare import execution
from rung.run.validate import validate


def identity(
    config: RunConfig, facts: ModelFacts | None, choices: Mapping[str, Any], hashes: Mapping[str, str]
) -> dict[str, Any]:
    """All that decides a run's result; where its files lie does not.

    Args:
        config: The settings.
        facts: What is known of the model, or None.
        choices: The machine's choices (see `prepare.execution`).
        hashes: Path of each data file to the SHA-256 of its bytes.
    """
    settings = config.identity()
    settings["data"] = config.data.settings()
    if facts is not None and facts.path is not None:
        # A model's folder may move; its weights may not change.
        settings["model"] = facts.base_hash
    return {
        **settings,
        "files": {name: hashes.get(path) for name, path in config.data.files().items()},
        # Whether layers are compiled follows from the settings, the rows and the compiler, which are here.
        "execution": {name: value for name, value in choices.items() if name != "torch_compile"},
    }


def is_finished(config: RunConfig) -> bool:
    """Whether the run's folder holds this very run, finished; reads the data's bytes, loads nothing.

    Raises:
        ArtifactError: It holds a run of other settings or rows, finished or not.
        RungError: The settings can't be run at all.
    """
    folder = Path(config.output_dir)
    begun = folder / "checkpoints" / "config.json"
    if not (folder / "run.json").exists() and not begun.exists():
        return False
    facts = validate(config)
    paths = config.data.files().values()
    hashes = {path: fsio.sha256_file(Path(path)) for path in paths if Path(path).is_file()}
    key = config_hash(identity(config, facts, execution(config, facts), hashes))
    if not (folder / "run.json").exists() and _begun_with(begun) not in (None, key):
        raise ArtifactError(f"{folder} holds an unfinished run of other settings or rows", "Move it aside.")
    return holds(folder, key)


def _begun_with(path: Path) -> str | None:
    """The identity that checkpoints were written under; None when that can't be read: a resume then looks closer."""
    try:
        return read_sealed(path)["config_hash"]
    except DamagedError:
        return None


def holds(folder: Path, key: str) -> bool:
    """Whether a folder holds the finished run with this identity.

    Raises:
        ArtifactError: It holds another one, or is damaged.
    """
    path = folder / "run.json"
    if not path.exists():
        return False
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["identity"]
    except (ValueError, KeyError) as error:
        raise ArtifactError(f"{path} is damaged: {error}", "Run again with --fresh.") from error
    if found != key:
        raise ArtifactError(
            f"{folder} holds a finished run of other settings or rows",
            "Choose another output_dir, or run with --fresh: the earlier run is then kept aside.",
        )
    return True


def replace_folder(folder: Path) -> Path | None:
    """Move a run's folder aside, whole; gives where to, or None when there was none."""
    if not folder.exists():
        return None
    shelf = folder.parent / ".replaced"
    fsio.make_folder(shelf)
    aside = next(
        candidate for number in itertools.count(1) if not (candidate := shelf / f"{folder.name}-{number}").exists()
    )
    fsio.rename(folder, aside)
    return aside
