"""What there is to know about the splits before paying for a run: balance, duplicates, conflicts, missing classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rung.data.columns import Columns
from rung.data.content import as_text, label_of, text_of
from rung.data.split import Splits
from rung.errors import DataError
from rung.types import Record

_SHOWN = 3
_LISTED_CLASSES = 8


@dataclass(frozen=True, slots=True)
class Conflict:
    """One text with several labels.

    Attributes:
        text: The text as first written.
        rows: (label, source) of each row that has it.
    """

    text: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DataReport:
    """What a check found.

    Attributes:
        rows: Split to its number of rows.
        classes: Split to label to its number of rows, labels sorted; empty where answers are open.
        set_aside: Bucket to the number of rows that are in no split for that reason.
        repeated_in: Split to the number of its rows that repeat an earlier row's text.
        overlaps: `exact train test` (kind, split, other split) to `found` and `removed` rows.
        overlap_examples: The first overlapping rows' places.
        conflicts: Texts that have several labels, rows set aside included.
        characters: `shortest`, `median` and `longest` text's length, in characters.
        notes: Sentences on how the rows were split.
        warnings: Sentences on what may spoil a run.
    """

    rows: dict[str, int]
    classes: dict[str, dict[str, int]]
    set_aside: dict[str, int]
    repeated_in: dict[str, int]
    overlaps: dict[str, dict[str, int]]
    overlap_examples: tuple[str, ...]
    conflicts: tuple[Conflict, ...]
    characters: dict[str, int]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        return asdict(self)

    def sentences(self) -> tuple[str, ...]:
        """The report for people, one finding each, warnings last."""
        said = [
            *self.notes,
            *(f"{split}: {self.rows[split]:,} rows{_balance(self.classes[split])}." for split in self.rows),
        ]
        length = self.characters
        said.append(
            f"Texts have {length['shortest']:,} to {length['longest']:,} characters, half of them "
            f"{length['median']:,} or fewer."
        )
        said += [
            f"Texts that come again within {split}: {count:,} rows, kept."
            for split, count in self.repeated_in.items()
            if count
        ]
        for names, counts in self.overlaps.items():
            kind, split, other = names.split()
            kept = counts["found"] - counts["removed"]
            fate = "removed" if not kept else "kept, since the files are taken as they are"
            said.append(f"{kind.capitalize()} duplicates of {other} rows in {split}: {counts['found']:,}, {fate}.")
        if self.overlap_examples:
            said.append(f"For example {'; '.join(self.overlap_examples)}.")
        if self.conflicts:
            said.append(f"Texts with several labels: {len(self.conflicts):,}; no model can get all of them right.")
            said.append(f"For example {'; '.join(map(_places, self.conflicts[:_SHOWN]))}.")
        return (*said, *self.warnings)


def check(splits: Splits, columns: Columns) -> DataReport:
    """Look the splits over.

    Raises:
        DataError: There are no rows to train on, they have one class only, or a label of the test rows is in no
            train row (and not because a row limit cut it).
    """
    named = splits.named()
    classes = {split: {} if columns.open else _classes(rows, columns.label) for split, rows in named.items()}
    if not splits.train:
        reasons = Counter(row.bucket for row in splits.set_aside)
        listed = ", ".join(f"{count} {bucket}" for bucket, count in reasons.items()) or "none set aside"
        raise DataError(f"no rows to train on (rows set aside: {listed})", "Give more rows, or a smaller test_size.")
    if len(classes["train"]) == 1:
        raise DataError(
            f"label column {columns.label}: all {len(splits.train):,} train rows have the label "
            f"{next(iter(classes['train']))!r}",
            "Classification needs at least two classes: set task.label to another column, or add rows.",
        )
    warnings = [] if columns.open else [*_absent_labels(splits, columns), *_label_warnings(classes)]
    lengths = sorted(
        sum(len(as_text(record.fields.get(column))) for column in columns.texts)
        for rows in named.values()
        for record in rows
    )
    return DataReport(
        rows={split: len(rows) for split, rows in named.items()},
        classes=classes,
        set_aside=dict(Counter(row.bucket for row in splits.set_aside)),
        repeated_in={
            split: len(rows) - len({text_of(record, columns.texts) for record in rows}) for split, rows in named.items()
        },
        overlaps=_overlap_counts(splits),
        overlap_examples=tuple(
            f"{overlap.record.source} ({overlap.split}) and {overlap.other.source} ({overlap.other_split})"
            for overlap in splits.overlaps[:_SHOWN]
        ),
        conflicts=() if columns.open else _conflicts(splits, columns),
        characters={"shortest": lengths[0], "median": lengths[len(lengths) // 2], "longest": lengths[-1]},
        notes=splits.notes,
        warnings=tuple(warnings),
    )


def _classes(rows: Iterable[Record], column: str) -> dict[str, int]:
    return dict(sorted(Counter(label_of(record, column) for record in rows).items()))


def _overlap_counts(splits: Splits) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for overlap in splits.overlaps:
        entry = counts.setdefault(f"{overlap.kind} {overlap.split} {overlap.other_split}", {"found": 0, "removed": 0})
        entry["found"] += 1
        entry["removed"] += overlap.removed
    return counts


def _conflicts(splits: Splits, columns: Columns) -> tuple[Conflict, ...]:
    by_text: defaultdict[str, list[Record]] = defaultdict(list)
    aside = [row.record for row in splits.set_aside if row.bucket not in ("empty_text", "missing_label")]
    for record in (*splits.train, *splits.validation, *splits.test, *aside):
        by_text[text_of(record, columns.texts)].append(record)
    return tuple(
        Conflict(
            " / ".join(as_text(rows[0].fields.get(column)) for column in columns.texts),
            tuple((label_of(record, columns.label), record.source) for record in rows),
        )
        for rows in by_text.values()
        if len({label_of(record, columns.label) for record in rows}) > 1
    )


def _absent_labels(splits: Splits, columns: Columns) -> list[str]:
    """Warnings on labels that no train row has; an error where nothing explains it.

    Raises:
        DataError: A test row's label is in no train row.
    """
    known = set(_classes(splits.train, columns.label))
    limited = (row.record for row in splits.set_aside if row.bucket == "over_limit" and row.split == "train")
    cut_by_limit = set(_classes(limited, columns.label))
    warnings = []
    for split, rows in (("test", splits.test), ("validation", splits.validation)):
        absent = {label: count for label, count in _classes(rows, columns.label).items() if label not in known}
        unexplained = [label for label in absent if label not in cut_by_limit]
        if unexplained and split == "test":
            source = next(row.source for row in rows if label_of(row, columns.label) == unexplained[0])
            listed = ", ".join(f"{label!r} ({absent[label]} rows)" for label in unexplained[:_LISTED_CLASSES])
            raise DataError(
                f"labels of test rows that no train row has: {listed}; first at {source}",
                "Add train rows with them, remove those test rows, or set data.split=stratified to spread each class.",
            )
        if absent:
            listed = ", ".join(map(repr, list(absent)[:_LISTED_CLASSES]))
            why = "raise max_train_rows or rows_per_label" if not unexplained else "add train rows with them"
            warnings.append(f"{len(absent):,} labels of {split} rows are in no train row ({listed}): {why}.")
    return warnings


def _label_warnings(classes: dict[str, dict[str, int]]) -> list[str]:
    warnings = []
    single = [label for label, count in classes["train"].items() if count == 1]
    if single:
        listed = ", ".join(map(repr, single[:_LISTED_CLASSES]))
        warnings.append(f"{len(single):,} classes have a single train row: {listed}.")
    by_folded: defaultdict[str, set[str]] = defaultdict(set)
    for counts in classes.values():
        for label in counts:
            by_folded[label.casefold()].add(label)
    for twins in by_folded.values():
        if len(twins) > 1:
            names = " and ".join(map(repr, sorted(twins)))
            warnings.append(f"Labels {names} differ only in upper and lower case and count as different classes.")
    return warnings


def _balance(classes: dict[str, int]) -> str:
    if not classes:
        return ""
    total = sum(classes.values())
    ranked = sorted(classes.items(), key=lambda item: -item[1])
    if len(ranked) <= _LISTED_CLASSES:
        return ": " + ", ".join(f"{label} {count:,} ({count / total:.0%})" for label, count in ranked)
    (most, most_rows), (least, least_rows) = ranked[0], ranked[-1]
    return f": {len(ranked):,} classes, from {least} ({least_rows:,}) to {most} ({most_rows:,})"


def _places(conflict: Conflict) -> str:
    places = ", ".join(f"{label!r} at {source}" for label, source in conflict.rows[:_SHOWN])
    return f"{_short(conflict.text)}: {places}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
