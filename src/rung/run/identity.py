"""Which run a folder holds: settings, rows, base weights and machine choices, and nothing else."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rung.config.hashing import config_hash
from rung.engine import fsio
from rung.errors import ArtifactError
from rung.models.facts import ModelFacts
from rung.run.config import RunConfig
from rung.run.prepare import execution
from rung.run.validate import validate

_SPLITS = ("train", "validation", "test")


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
    paths = {name: settings["data"].pop(name) for name in _SPLITS}
    if facts is not None:
        # A model's folder may move; its weights may not change.
        settings["model"] = facts.base_hash
    return {
        **settings,
        "files": {name: hashes.get(path) for name, path in paths.items() if path is not None},
        "execution": dict(choices),
    }


def is_finished(config: RunConfig) -> bool:
    """Whether the run's folder holds this very run, finished; reads the data's bytes, loads nothing.

    Raises:
        ArtifactError: It holds a finished run of other settings or rows.
        RungError: The settings can't be run at all.
    """
    folder = Path(config.output_dir)
    if not (folder / "run.json").exists():
        return False
    facts = validate(config)
    paths = [path for path in (config.data.train, config.data.validation, config.data.test) if path is not None]
    hashes = {path: fsio.sha256_file(Path(path)) for path in paths if Path(path).is_file()}
    return holds(folder, config_hash(identity(config, facts, execution(config, facts), hashes)))


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
