"""A finished run's folder, read with care: its settings, its task, and its weights on a start that is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from rung.engine import fsio
from rung.errors import ArtifactError
from rung.evaluate.generating import predictor_for
from rung.evaluate.predictor import LocalPredictor
from rung.methods.adapted import Adapted
from rung.methods.base import WeightMethod
from rung.run.config import RunConfig, objective_for
from rung.run.prepare import adapt
from rung.run.record import FORMAT, read_prompt
from rung.run.start import Opened
from rung.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run's folder says.

    Attributes:
        folder: Where it is.
        run: The content of `run.json`.
        config: Its settings.
        task: Its task, with columns and labels.
    """

    folder: Path
    run: Mapping[str, Any]
    config: RunConfig
    task: Task


def read_finished(folder: Path) -> Finished:
    """Read a run's folder; every file that has a say in its answers is compared with its hash.

    Raises:
        ArtifactError: It is unfinished, damaged, or of another release.
    """
    run = _run_file(folder)
    config = RunConfig.model_validate(run["resolved"])
    columns = run["data"]["columns"]
    task = config.task.resolve(
        columns["text"],
        columns["text_pair"],
        columns["label"],
        run["data"]["labels"],
        tuple(run["data"]["all_columns"]),
    )
    _require_unchanged(folder, run)
    return Finished(folder, run, config, task)


def _run_file(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    if not path.exists():
        held = (
            "an unfinished run: the command that began it goes on with it" if (folder / "checkpoints").exists() else ""
        )
        raise ArtifactError(f"{folder} holds no finished run (no run.json)", held or "Give the output_dir of a run.")
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: {error}", "Run again with --fresh.") from error
    if run.get("format") != FORMAT:
        raise ArtifactError(
            f"{path}: format={run.get('format')!r}, this release reads {FORMAT}", "Use a matching release."
        )
    return run


def _require_unchanged(folder: Path, run: Mapping[str, Any]) -> None:
    """A flipped bit may change answers by less than the golden rows can show."""
    for name, was in run["files"].items():
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder / name} is missing", "Copy the run's folder whole, or run again.")
        if fsio.sha256_file(folder / name) != was:
            raise ArtifactError(
                f"{folder / name} was changed or damaged since the run was finished", "Run again with --fresh."
            )


def attached(finished: Finished, opened: Opened) -> tuple[LocalPredictor, Adapted]:
    """Put what a run trained on the start that it was trained on.

    Args:
        finished: The run; its task gets the prompt that it was run with.
        opened: The start, loaded.

    Returns:
        What answers, and the adapted model it asks.

    Raises:
        ArtifactError: The weights don't fit.
    """
    folder, config, task = finished.folder, finished.config, finished.task
    method = config.method if isinstance(config.method, WeightMethod) else None
    objective = objective_for(config, opened.loaded.facts.kind)
    task.prompt = read_prompt(folder / "prompt.json")
    adapted = adapt(method, opened, task, objective, config.training.seed)
    path = folder / adapted.weights_file
    try:
        if adapted.own:
            adapted.load(tensors(path))
        if adapted.head is not None:
            adapted.head.load_state_dict(tensors(folder / "head.safetensors"))
    except (KeyError, RuntimeError) as error:
        raise ArtifactError(f"{path} does not fit {config.model}: {error}", "Train it again.") from error
    adapted.evaluating()
    longest = int(finished.run["execution"]["max_length"])
    return predictor_for(adapted, opened.loaded.tokenizer, task, objective, longest), adapted


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of one of the run's files.

    Raises:
        ArtifactError: It is damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"{path} can't be read: {error}", "The artifact is damaged: run again with --fresh."
        ) from error
