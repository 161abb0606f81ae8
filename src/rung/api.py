"""The command line's verbs as functions."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from rung import artifact
from rung.artifact import Artifact
from rung.base import Base
from rung.config.document import Document
from rung.config.loading import is_settings_file, load_config
from rung.config.overrides import apply_overrides
from rung.config.validation import build
from rung.errors import ConfigError
from rung.ladder.climb import climb as run_ladder
from rung.ladder.plan import LadderConfig
from rung.run import RunConfig, execute, find_learning_rate

__all__ = ["climb", "load", "train"]


def climb(
    source: str | dict[str, Any], *overrides: str, fresh: bool = False, echo: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Run a ladder and give its report (`rung climb`).

    Args:
        source: A settings file, a data file, or the settings as a dict.
        *overrides: `key=value` words, as on the command line.
        fresh: Start anew instead of going on.
        echo: Told in sentences what is going on.

    Returns:
        The report, as `report.json` holds it.

    Raises:
        RungError: Whatever the user can mend.
    """
    given = apply_overrides(_settings(source), overrides)
    return run_ladder(build(LadderConfig, given), given, fresh=fresh, echo=echo)


def train(
    source: str | dict[str, Any],
    *overrides: str,
    fresh: bool = False,
    accept: Collection[str] = (),
    find_lr: bool = False,
    echo: Callable[[str], None] = lambda _: None,
) -> Artifact:
    """Run one config and load what came of it (`rung train`).

    Args:
        source: A settings file, or the settings as a dict.
        *overrides: `key=value` words, as on the command line.
        fresh: Start anew instead of going on.
        accept: Settings that may have changed since the run began: it goes on under the new ones.
        find_lr: First look for the peak learning rate on validation rows.
        echo: Told in sentences what is going on.

    Returns:
        The finished run.

    Raises:
        RungError: Whatever the user can mend.
    """
    given = apply_overrides(_settings(source), overrides)
    config = build(RunConfig, given)
    if find_lr:
        config = find_learning_rate(config, fresh=fresh, accept=accept, say=echo)
    return artifact.load(execute(config, given, fresh=fresh and not find_lr, accept=accept, say=echo))


def load(
    reference: str | Path, *, precision: str = "auto", device: str = "auto", quantization: str = "none"
) -> Artifact | Base:
    """Load a finished run, or a model that runs are put on (`load("minilm-l6").with_("out")`).

    Args:
        reference: A run's folder, or a model: catalogue name, hub id, `pypi:package`, folder.
        precision: Of a model: `auto`, `bfloat16` or `float32`. A run has its own.
        device: Of a model: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`. A run has its own.
        quantization: Of a model: `none`, `int8` or `nf4`. A run has its own.

    Returns:
        The run, or the base.

    Raises:
        RungError: Whatever the user can mend.
    """
    folder = Path(reference)
    is_model = any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))
    if not folder.is_dir() or (is_model and not (folder / "run.json").exists()):
        return Base(str(reference), precision, device, quantization)
    if (precision, device, quantization) != ("auto", "auto", "none"):
        raise ConfigError(
            f"{folder} is a run, which has a precision, a device and a quantization of its own",
            "Leave them out, or name a model.",
        )
    return artifact.load(folder)


def _settings(source: str | dict[str, Any]) -> Document:
    if isinstance(source, dict):
        return Document(source, source="the settings")
    if is_settings_file(source):
        return load_config(source)
    return Document({"data": {"train": str(Path(source))}}, source="the settings")
