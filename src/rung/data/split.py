"""Train, validation and test: cut by hash so that they last, and kept apart so that test scores mean something."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rung.data.columns import Columns, require_column
from rung.data.content import as_text, digest, label_of, normalise, text_of
from rung.data.ledger import Ledger
from rung.data.near import near_matches
from rung.data.readers import Table
from rung.data.settings import DataConfig
from rung.types import Record

SPLITS = ("train", "validation", "test")
"""The splits, in the order in which rows are taken from one in favour of the next."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """A row that says the same, or nearly, as a row of a split it must be independent of.

    Attributes:
        kind: `exact` or `near`.
        record: The row.
        split: Its split.
        other: The row it repeats.
        other_split: That row's split.
        removed: Whether the row was removed; rows of files that the user split are only reported.
    """

    kind: str
    record: Record
    split: str
    other: Record
    other_split: str
    removed: bool


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row in no split: the ledger's bucket it is in, and the split it would have been in."""

    record: Record
    bucket: str
    split: str


@dataclass(frozen=True, slots=True)
class Splits:
    """The rows of each split in file order, what they share, the rows in none, and sentences on how it was done."""

    train: tuple[Record, ...]
    validation: tuple[Record, ...]
    test: tuple[Record, ...]
    overlaps: tuple[Overlap, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    notes: tuple[str, ...] = ()

    def named(self) -> dict[str, tuple[Record, ...]]:
        """Split name to its rows."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


@dataclass(slots=True)
class _Row:
    record: Record
    path: str
    index: int
    text: str
    split: str
    bucket: str | None = None


def split(config: DataConfig, columns: Columns, tables: Mapping[str, Table], ledger: Ledger) -> Splits:
    """Split the tables and place each of their rows in the ledger.

    The splits that have no table of their own are cut from `train`. With `split: hash` a row's side depends on its
    normalised texts alone (or on its group), so it stays where it is when rows are added, and rows that say the same
    are on the same side. In the cut validation and test splits each text is kept once: its repeats go to the bucket
    `duplicate`. Then each cut split is made independent of the next: a train or validation row that is an exact or
    near duplicate of a test row is removed, and a train row that is one of a validation row. Repeats within train
    stay. Files that the user split are taken as they are, and what they share is reported in `overlaps`. Row limits
    come last: they take rows in the order of a hash, so the first 100 are among the first 200.

    Args:
        config: The data settings.
        columns: The text and label columns.
        tables: `train`, and `validation` and `test` where the user gave them.
        ledger: Has all files of `tables` open.

    Raises:
        DataError: The group column doesn't exist.
    """
    rows = [
        _Row(record, table.path, index, text_of(record, columns.texts), name)
        for name, table in tables.items()
        for index, record in enumerate(table.records)
    ]
    for row in rows:
        if any(not normalise(as_text(row.record.fields.get(column))) for column in columns.needed):
            row.bucket = "empty_text"
        elif not label_of(row.record, columns.label):
            row.bucket = "missing_label"
    cut = config.cut()
    if config.group is not None and cut:
        require_column(tables["train"], "group", config.group)
    _assign(config, columns.label, [row for row in rows if row.split == "train" and not row.bucket])
    _drop_repeats(rows, cut)
    removable = {"train", *cut} if cut else set()
    overlaps = [overlap for to in ("test", "validation") for overlap in _overlaps(config, rows, to, removable)]
    _limit(config, columns.label, rows)
    for row in rows:
        ledger.place(row.path, row.index, row.bucket or row.split)
    kept = {name: tuple(row.record for row in rows if row.split == name and not row.bucket) for name in SPLITS}
    aside = tuple(SetAside(row.record, row.bucket, row.split) for row in rows if row.bucket)
    return Splits(**kept, overlaps=tuple(overlaps), set_aside=aside, notes=_notes(config))


def _notes(config: DataConfig) -> tuple[str, ...]:
    cut = " and ".join(config.cut())
    if not cut:
        return ()
    if config.split == "stratified":
        return (f"{cut} cut from train with equal class shares: rows may change sides when rows are added.",)
    by = f"the hash of {config.group}" if config.group else "the hash of the text"
    return (f"{cut} cut from train by {by}: no row changes sides when rows are added.",)


def _assign(config: DataConfig, label: str, rows: list[_Row]) -> None:
    """Cut the splits that are wanted from the rows of the train file."""
    units: defaultdict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        group = normalise(as_text(row.record.fields.get(config.group))) if config.group else ""
        units[digest(f"group:{group}" if group else f"text:{row.text}")].append(row)
    cut = config.cut()
    side = _by_hash(config, cut, units) if config.split == "hash" else _by_label(config, cut, label, units)
    for key, members in units.items():
        for row in members:
            row.split = side[key]


def _by_hash(config: DataConfig, cut: Iterable[str], units: Iterable[str]) -> dict[str, str]:
    # Test is taken from the low end and validation from the high end: changing one share moves no row of the other.
    def side(key: str) -> str:
        position = int(key[:13], 16) / 16**13
        if "test" in cut and position < config.test_size:
            return "test"
        return "validation" if "validation" in cut and position >= 1 - config.validation_size else "train"

    return {key: side(key) for key in units}


def _by_label(config: DataConfig, cut: Iterable[str], label: str, units: Mapping[str, list[_Row]]) -> dict[str, str]:
    """Equal shares of each class; one unit of each for every split as long as there are enough."""
    classes: defaultdict[str, list[str]] = defaultdict(list)
    for key in sorted(units):
        classes[label_of(units[key][0].record, label)].append(key)
    shares = {"test": config.test_size, "validation": config.validation_size}
    side: dict[str, str] = {}
    for keys in classes.values():
        free = list(keys)
        for name in cut:
            count = min(max(1, round(shares[name] * len(keys))), len(free) - 1)
            side |= dict.fromkeys(free[:count], name)
            free = free[count:]
        side |= dict.fromkeys(free, "train")
    return side


def _drop_repeats(rows: list[_Row], cut: Iterable[str]) -> None:
    """Keep each text once in the cut validation and test splits."""
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if row.bucket or row.split not in cut:
            continue
        if (row.split, row.text) in seen:
            row.bucket = "duplicate"
        seen.add((row.split, row.text))


def _overlaps(config: DataConfig, rows: list[_Row], to: str, removable: set[str]) -> list[Overlap]:
    """What the splits before `to` share with it; removed where both were cut from the train file."""
    kept = [row for row in rows if row.split == to and not row.bucket]
    earlier = SPLITS[: SPLITS.index(to)]
    rivals = [row for row in rows if row.split in earlier and not row.bucket]
    by_text = {row.text: row for row in reversed(kept)}
    matches = [("exact", row, by_text[row.text]) for row in rivals if row.text in by_text]
    if config.near_duplicates:
        others = list(by_text.values())
        apart = [row for row in rivals if row.text not in by_text]
        near = near_matches([row.text for row in apart], [row.text for row in others])
        matches += [("near", apart[query], others[other]) for query, other in near.items()]
    found = []
    for kind, row, other in matches:
        removed = {row.split, to} <= removable
        if removed:
            row.bucket = "duplicate" if kind == "exact" else "near_duplicate"
        found.append(Overlap(kind, row.record, row.split, other.record, to, removed))
    return found


def _limit(config: DataConfig, label: str, rows: list[_Row]) -> None:
    """Put the rows over the row limits aside."""
    ranked = sorted((row for row in rows if not row.bucket), key=lambda row: digest(f"{config.seed}:{row.record.id}"))
    if config.rows_per_label is not None:
        by_label: defaultdict[str, list[_Row]] = defaultdict(list)
        for row in ranked:
            if row.split == "train":
                by_label[label_of(row.record, label)].append(row)
        for members in by_label.values():
            _put_aside(members[config.rows_per_label :])
    most = {"train": config.max_train_rows, "validation": config.max_validation_rows, "test": config.max_test_rows}
    for name, limit in most.items():
        if limit is not None:
            _put_aside([row for row in ranked if row.split == name and not row.bucket][limit:])


def _put_aside(rows: Iterable[_Row]) -> None:
    for row in rows:
        row.bucket = "over_limit"
