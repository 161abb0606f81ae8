"""The command line's verbs as functions."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from rung.artifact import Artifact, load
from rung.config.document import Document
from rung.config.loading import is_settings_file, load_config
from rung.config.overrides import apply_overrides
from rung.config.validation import build
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
    return load(execute(config, given, fresh=fresh and not find_lr, accept=accept, say=echo))


def _settings(source: str | dict[str, Any]) -> Document:
    if isinstance(source, dict):
        return Document(source, source="the settings")
    if is_settings_file(source):
        return load_config(source)
    return Document({"data": {"train": str(Path(source))}}, source="the settings")
