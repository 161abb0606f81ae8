"""What there is to know about the splits before paying for a run: balance, duplicates, conflicts, missing classes."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rung.data.clean import Cleaning
from rung.data.columns import Columns
from rung.data.content import as_text, label_of, text_of
from rung.data.digests import Digests, distinct, first_equal
from rung.data.split import SetAside, Splits
from rung.data.views import Joined, Mapped, Picked
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
        cleaning: What is wrong with train rows, and how many were removed for it.
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
    cleaning: Cleaning
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
            some = f"{counts['removed']:,} removed, {kept:,} " if counts["removed"] else ""
            fate = "removed" if not kept else f"{some}kept, since the files are taken as they are"
            said.append(f"{kind.capitalize()} duplicates of {other} rows in {split}: {counts['found']:,}, {fate}.")
        if self.overlap_examples:
            said.append(f"For example {'; '.join(self.overlap_examples)}.")
        if self.conflicts:
            said.append(f"Texts with several labels: {len(self.conflicts):,}; no model can get all of them right.")
            said.append(f"For example {'; '.join(map(_places, self.conflicts[:_SHOWN]))}.")
        return (*said, *self.cleaning.sentences(), *self.warnings)


def check(splits: Splits, columns: Columns) -> DataReport:
    """Look the splits over.

    Raises:
        DataError: There are no rows to train on, they have one class only, or a label of the test rows is in no
            train row (and not because a row limit cut it).
    """
    found = {split: _Found(rows, columns) for split, rows in splits.named().items()}
    classes = {split: one.classes() for split, one in found.items()}
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
    warnings = [] if columns.open else [*_absent_labels(splits, columns, classes), *_label_warnings(classes)]
    lengths = np.sort(np.concatenate([one.lengths for one in found.values()]))
    return DataReport(
        rows={split: len(rows) for split, rows in splits.named().items()},
        classes=classes,
        set_aside=dict(Counter(row.bucket for row in splits.set_aside)),
        repeated_in={split: len(one.texts) - distinct(one.texts) for split, one in found.items()},
        overlaps=_overlap_counts(splits),
        overlap_examples=tuple(
            f"{overlap.record.source} ({overlap.split}) and {overlap.other.source} ({overlap.other_split})"
            for overlap in splits.overlaps[:_SHOWN]
        ),
        conflicts=() if columns.open else _conflicts(splits, columns, list(found.values())),
        characters={
            "shortest": int(lengths[0]),
            "median": int(lengths[len(lengths) // 2]),
            "longest": int(lengths[-1]),
        },
        notes=splits.notes,
        cleaning=splits.cleaning,
        warnings=tuple(warnings),
    )


class _Found:
    """What one look at some rows finds; about thirty bytes for each.

    Args:
        rows: The rows.
        columns: The text and label columns.

    Attributes:
        lengths: `[rows]` characters of each row's texts.
        texts: `[rows, 2]` digests of the normalised texts.
        labels: `[rows]` index in `names` of each row's label; all 0 where answers are open.
        names: The labels, in the order of first sight.
    """

    def __init__(self, rows: Sequence[Record], columns: Columns) -> None:
        lengths, labels, texts = array("q"), array("q"), Digests()
        numbers: dict[str, int] = {}
        for record in rows:
            lengths.append(sum(len(as_text(record.fields.get(column))) for column in columns.texts))
            texts.add(text_of(record, columns.texts))
            label = "" if columns.open else label_of(record, columns.label)
            labels.append(numbers.setdefault(label, len(numbers)))
        self.lengths, self.labels = np.array(lengths, np.int64), np.array(labels, np.int64)
        self.texts = texts.numbers()
        self.names = [] if columns.open else list(numbers)

    def classes(self) -> dict[str, int]:
        """Label to its number of rows, labels sorted."""
        counts = np.bincount(self.labels, minlength=len(self.names)).tolist()
        return dict(sorted(zip(self.names, counts, strict=False)))


def _overlap_counts(splits: Splits) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for overlap in splits.overlaps:
        entry = counts.setdefault(f"{overlap.kind} {overlap.split} {overlap.other_split}", {"found": 0, "removed": 0})
        entry["found"] += 1
        entry["removed"] += overlap.removed
    return counts


def _conflicts(splits: Splits, columns: Columns, found: Sequence[_Found]) -> tuple[Conflict, ...]:
    """Texts with several labels, in the order of their first rows: of the splits, then of those set aside."""
    whole = [at for at, row in enumerate(splits.set_aside) if row.bucket not in ("empty_text", "missing_label")]
    aside = Mapped(Picked(splits.set_aside, np.array(whole, np.int64)), _record)
    every = [*found, _Found(aside, columns)]
    records = Joined([*splits.named().values(), aside])
    numbers: dict[str, int] = {}
    labels = [
        np.array([numbers.setdefault(name, len(numbers)) for name in one.names], np.int64)[one.labels] for one in every
    ]
    first = first_equal(np.concatenate([one.texts for one in every]))
    label = np.concatenate(labels)
    several = np.unique(first[label != label[first]])
    place = np.flatnonzero(np.isin(first, several))
    rows: defaultdict[int, list[Record]] = defaultdict(list)
    for at in place:
        rows[int(first[at])].append(records[int(at)])
    return tuple(
        Conflict(
            " / ".join(as_text(same[0].fields.get(column)) for column in columns.texts),
            tuple((label_of(record, columns.label), record.source) for record in same),
        )
        for same in rows.values()
    )


def _record(aside: SetAside) -> Record:
    return aside.record


def _absent_labels(splits: Splits, columns: Columns, classes: dict[str, dict[str, int]]) -> list[str]:
    """Warnings on labels that no train row has; an error where nothing explains it.

    Raises:
        DataError: A test row's label is in no train row.
    """
    known = classes["train"]
    limited = (row.record for row in splits.set_aside if row.bucket == "over_limit" and row.split == "train")
    cut_by_limit = {label_of(record, columns.label) for record in limited}
    warnings = []
    for split, rows in (("test", splits.test), ("validation", splits.validation)):
        absent = {label: count for label, count in classes[split].items() if label not in known}
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
