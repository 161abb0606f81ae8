"""From the data settings to checked splits: read, find the columns, split, check, and account for each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from rung.data.checks import check
from rung.data.columns import Columns, infer_columns, require_column
from rung.data.ledger import Ledger
from rung.data.loaded import LoadedData
from rung.data.mixture.mix import load_mixture
from rung.data.readers import Table, read
from rung.data.settings import DataConfig
from rung.data.split import split
from rung.data.written import infer_written, prepared
from rung.errors import ConfigError, DataError


def load_classification(config: DataConfig, columns: Mapping[str, str | None]) -> LoadedData:
    """Read, split and check the data of a classification task.

    Args:
        config: The data settings.
        columns: What the user set of `text`, `text_pair` and `label`; the rest is inferred from the train file.

    Raises:
        DataError: A file or column is missing, a file is malformed, a split that is to be cut gets no rows, or the
            labels don't allow training (see `checks.check`).
        ConfigError: The data are a mixture.
    """
    if config.mixture is not None:
        raise ConfigError(
            "data.mixture makes instructions, which are answered in words, and this task names labels",
            "Set task.type=generation.",
        )
    return _load(config, columns, infer_columns)


def load_generation(config: DataConfig, columns: Mapping[str, str | None]) -> LoadedData:
    """Read, split and check the data of a generation task: the completion is an open label.

    Args:
        config: The data settings.
        columns: What the user set of `prompt`, `context`, `completion` and `messages`; the rest is inferred from the
            train file.

    Raises:
        DataError: A file or column is missing, a file or a conversation is malformed, or a split that is to be cut
            gets no rows.
        ConfigError: A setting is about classes.
    """
    if config.split == "stratified" or config.rows_per_label is not None:
        about = "split=stratified" if config.split == "stratified" else f"rows_per_label={config.rows_per_label}"
        raise ConfigError(f"data.{about} is about classes, and written answers have none", "Leave it out.")
    if config.mixture is None:
        return _load(config, columns, infer_written)
    for role, column in columns.items():
        if column is not None and (role, column) not in (("prompt", "prompt"), ("completion", "completion")):
            raise ConfigError(
                f"task.{role}={column}: the rows of a mixture have a prompt and a completion, made by templates",
                f"Leave it out, or set the columns of each source: data.mixture.sources[0].columns.{role}=...",
            )
    return load_mixture(config)


def _load(
    config: DataConfig, columns: Mapping[str, str | None], infer: Callable[[Table, Mapping[str, str | None]], Columns]
) -> LoadedData:
    files = {"train": config.train, "validation": config.validation, "test": config.test}
    tables = {name: read(path, config.format) for name, path in files.items() if path is not None}
    found = infer(tables["train"], columns)
    for name, table in tables.items():
        for role, column in found.roles.items():
            require_column(table, role, column)
        if name != "train":
            found = replace(found, reasons=(*found.reasons, *table.notes))
    tables = {name: prepared(table, found) for name, table in tables.items()}
    ledger = Ledger()
    for table in tables.values():
        ledger.include(table.ledger)
    splits = split(config, found, tables, ledger)
    ledger.check()
    report = check(splits, found)
    for name in config.cut():
        if not splits.named()[name]:
            raise DataError(
                f"data.{name}: none of {len(tables['train'].records)} rows of {config.train} fell to this split",
                f"Give more rows, a larger {name}_size, a {name} file, or set data.split=stratified.",
            )
    labels = {label for counts in report.classes.values() for label in counts}
    hashes = {table.path: table.sha256 for table in tables.values()}
    return LoadedData(splits, found, tuple(sorted(labels)), ledger, report, hashes)
