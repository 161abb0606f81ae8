"""Rows looked over before anything is paid for: `rung data check`."""

from __future__ import annotations

from rung.config.base import Config
from rung.config.document import Document
from rung.config.validation import build
from rung.data.settings import DataConfig
from rung.tasks.classification import ClassificationConfig
from rung.tasks.union import AnyTask


class RowsConfig(Config):
    """What decides which rows there are, of a run's or a ladder's settings."""

    data: DataConfig
    """The user's rows."""
    task: AnyTask = ClassificationConfig()
    """The user's problem; columns left out are inferred."""


def checked(given: Document) -> list[str]:
    """What there is to know of the rows of a run or a ladder, in sentences; other settings are not looked at.

    Args:
        given: The settings.

    Raises:
        ConfigError: `data` or `task` can't be understood.
        DataError: The rows can't be used.
    """
    kept = {name: given[name] for name in RowsConfig.model_fields if name in given}
    config = build(RowsConfig, Document(kept, given.source, given.lines, given.overridden))
    data = config.task.load(config.data)
    return [*data.columns.reasons, *data.ledger.sentences(), *data.report.sentences()]
