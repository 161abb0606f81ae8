"""What loading gives: checked splits, and where each row went."""

from __future__ import annotations

from dataclasses import dataclass

from rung.data.checks import DataReport
from rung.data.columns import Columns
from rung.data.ledger import Ledger
from rung.data.split import Splits


@dataclass(frozen=True, slots=True)
class LoadedData:
    """The rows of a run.

    Attributes:
        splits: Train, validation and test rows.
        columns: The text and label columns, and how they were found.
        labels: All labels as text, sorted: the order of probabilities and scores everywhere; none where answers are
            open.
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
