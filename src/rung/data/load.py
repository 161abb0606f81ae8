"""From the data settings to checked splits: read, find the columns, split, check, and account for each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rung.data.checks import DataReport, check
from rung.data.columns import Columns, infer_columns, require_column
from rung.data.content import label_of
from rung.data.ledger import Ledger
from rung.data.readers import read
from rung.data.settings import DataConfig
from rung.data.split import Splits, split
from rung.errors import DataError


@dataclass(frozen=True, slots=True)
class LoadedData:
    """The rows of a classification run.

    Attributes:
        splits: Train, validation and test rows.
        columns: The text and label columns, and how they were found.
        labels: All labels as text, sorted: the order of probabilities and scores everywhere.
        ledger: Where each row of each file went.
        report: What the check found.
        hashes: File to the SHA-256 of its bytes.
    """

    splits: Splits
    columns: Columns
    labels: tuple[str, ...]
    ledger: Ledger
    report: DataReport
    hashes: dict[str, str]


def load_classification(config: DataConfig, columns: Mapping[str, str | None]) -> LoadedData:
    """Read, split and check the data of a classification task.

    Args:
        config: The data settings.
        columns: What the user set of `text`, `text_pair` and `label`; the rest is inferred from the train file.

    Raises:
        DataError: A file or column is missing, a file is malformed, a split that is to be cut gets no rows, or the
            labels don't allow training (see `checks.check`).
    """
    files = {"train": config.train, "validation": config.validation, "test": config.test}
    tables = {name: read(path, config.format) for name, path in files.items() if path is not None}
    found = infer_columns(tables["train"], columns)
    for name, table in tables.items():
        for role, column in (("text", found.text), ("text_pair", found.text_pair), ("label", found.label)):
            if column is not None:
                require_column(table, role, column)
        if name != "train":
            found = replace(found, reasons=(*found.reasons, *table.notes))
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
    labels = {label_of(record, found.label) for rows in splits.named().values() for record in rows}
    hashes = {table.path: table.sha256 for table in tables.values()}
    return LoadedData(splits, found, tuple(sorted(labels)), ledger, report, hashes)
