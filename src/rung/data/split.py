"""Train, validation and test: cut by hash so that they last, and kept apart so that test scores mean something."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rung.data.clean import Cleaning, clean
from rung.data.columns import Columns, require_column
from rung.data.content import FIELD_END, as_text, label_of, normalise, text_of, texts_of
from rung.data.digests import Digests, first_equal, ordered
from rung.data.ledger import Ledger
from rung.data.near import near_matches
from rung.data.readers import Table
from rung.data.rows import ASIDE, FREE, SPLITS, Rows
from rung.data.settings import DataConfig
from rung.data.views import Joined, Mapped, Picked, View
from rung.types import Record


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
    """The rows of each split in file order, what they share, the rows in none, how it was done, and what is wrong.

    Records are made when they are asked for.
    """

    train: Sequence[Record]
    validation: Sequence[Record]
    test: Sequence[Record]
    overlaps: Sequence[Overlap] = ()
    set_aside: Sequence[SetAside] = ()
    notes: tuple[str, ...] = ()
    cleaning: Cleaning = field(default_factory=Cleaning)

    def named(self) -> dict[str, Sequence[Record]]:
        """Split name to its rows."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def split(
    config: DataConfig, columns: Columns, tables: Mapping[str, Table], ledger: Ledger, cleans: bool = True
) -> Splits:
    """Split the tables and place each of their rows in the ledger.

    The splits that have no table of their own are cut from `train`. With `split: hash` a row's side depends on its
    normalised texts alone (or on its group), so it stays where it is when rows are added, and rows that say the same
    are on the same side. In the cut validation and test splits each text is kept once: its repeats go to the bucket
    `duplicate`. Then each cut split is made independent of the next: a train or validation row that is an exact or
    near duplicate of a test row is removed, and a train row that is one of a validation row. Repeats within train
    stay. Files that the user split are taken as they are, and what they share is reported in `overlaps`. Then train
    rows are looked over, and removed for the causes of `clean.drop` (see `rung.data.clean`). Row limits come last: they
    take rows in the order of a hash, so the first 100 are among the first 200.

    Args:
        config: The data settings.
        columns: The text and label columns.
        tables: `train`, and `validation` and `test` where the user gave them.
        ledger: Has all files of `tables` open.
        cleans: Whether train rows are looked over; a mixture does it for all of its sources together.

    Raises:
        DataError: The group column doesn't exist.
    """
    rows = _fingerprints(columns, tables)
    cut = config.cut()
    if config.group is not None and cut:
        require_column(tables["train"], "group", config.group)
    _assign(config, columns.label, rows)
    _drop_repeats(rows, cut)
    removable = {"train", *cut} if cut else set()
    found = [_overlaps(config, columns, rows, to, removable) for to in ("test", "validation")]
    cleaning = clean(config, columns, rows, [one.pairs for one in found[0]]) if cleans else Cleaning()
    _limit(config, columns.label, rows)
    start = 0
    for table in tables.values():
        end = start + len(table.records)
        _enter(ledger, table.path, rows.split[start:end], rows.bucket[start:end])
        start = end
    kept = {name: Picked(rows.records, rows.of(name)) for name in SPLITS}

    def aside(row: int) -> SetAside:
        return SetAside(rows.records[row], ASIDE[rows.bucket[row]], SPLITS[rows.split[row]])

    set_aside = Mapped(Picked(range(len(rows.records)), np.flatnonzero(rows.bucket != FREE)), aside)
    return Splits(
        **kept,
        overlaps=Joined([part for to in found for part in to]),
        set_aside=set_aside,
        notes=_notes(config),
        cleaning=cleaning,
    )


def _fingerprints(columns: Columns, tables: Mapping[str, Table]) -> Rows:
    """What splitting needs to know of each row, rows without a text or a label set aside."""
    records = Joined([table.records for table in tables.values()])
    texts, bucket = Digests(), np.full(len(records), FREE, dtype=np.int8)
    for row, record in enumerate(records):
        parts = texts_of(record, columns.texts)
        texts.add(f"text:{FIELD_END.join(parts)}")
        if not all(part for part, column in zip(parts, columns.texts, strict=True) if column in columns.needed):
            bucket[row] = ASIDE.index("empty_text")
        elif not label_of(record, columns.label):
            bucket[row] = ASIDE.index("missing_label")
    numbers = texts.numbers()
    split = np.concatenate([np.full(len(table.records), SPLITS.index(name)) for name, table in tables.items()])
    return Rows(records, numbers, first_equal(numbers), split.astype(np.int8), bucket)


def _enter(ledger: Ledger, path: str, split: NDArray[np.int8], bucket: NDArray[np.int8]) -> None:
    for number, name in enumerate(SPLITS):
        ledger.place_all(path, np.flatnonzero((bucket == FREE) & (split == number)), name)
    for number, name in enumerate(ASIDE):
        ledger.place_all(path, np.flatnonzero(bucket == number), name)


def _notes(config: DataConfig) -> tuple[str, ...]:
    cut = " and ".join(config.cut())
    if not cut:
        return ()
    if config.split == "stratified":
        return (f"{cut} cut from train with equal class shares: rows may change sides when rows are added.",)
    by = f"the hash of {config.group}" if config.group else "the hash of the text"
    return (f"{cut} cut from train by {by}: no row changes sides when rows are added.",)


def _assign(config: DataConfig, label: str, rows: Rows) -> None:
    """Cut the splits that are wanted from the rows of the train file."""
    free = rows.of("train")
    units = rows.texts[free]
    if config.group is not None:
        groups, named = Digests(), np.zeros(len(free), dtype=bool)
        for place, record in enumerate(Picked(rows.records, free)):
            group = normalise(as_text(record.fields.get(config.group)))
            groups.add(f"group:{group}")
            named[place] = bool(group)
        units[named] = groups.numbers()[named]
    side = _by_hash(config, units) if config.split == "hash" else _by_label(config, label, rows, free, units)
    rows.split[free] = side


def _by_hash(config: DataConfig, units: NDArray[np.uint64]) -> NDArray[np.int8]:
    # Test is taken from the low end and validation from the high end: changing one share moves no row of the other.
    position = (units[:, 0] >> np.uint64(12)) / 2.0**52
    cut = config.cut()
    side = np.full(len(units), SPLITS.index("train"), dtype=np.int8)
    if "validation" in cut:
        side[position >= 1 - config.validation_size] = SPLITS.index("validation")
    if "test" in cut:
        side[position < config.test_size] = SPLITS.index("test")
    return side


def _by_label(
    config: DataConfig, label: str, rows: Rows, free: NDArray[np.int64], units: NDArray[np.uint64]
) -> NDArray[np.int8]:
    """Equal shares of each class; one unit of each for every split as long as there are enough."""
    order, is_first = ordered(units)
    classes: defaultdict[str, list[int]] = defaultdict(list)
    for unit, row in enumerate(free[order[is_first]]):
        classes[label_of(rows.records[int(row)], label)].append(unit)
    shares = {"test": config.test_size, "validation": config.validation_size}
    side = np.full(int(is_first.sum()), SPLITS.index("train"), dtype=np.int8)
    for members in classes.values():
        left = members
        for name in config.cut():
            count = min(max(1, round(shares[name] * len(members))), len(left) - 1)
            side[left[:count]] = SPLITS.index(name)
            left = left[count:]
    found = np.empty(len(order), dtype=np.int8)
    found[order] = side[np.cumsum(is_first) - 1]
    return found


def _drop_repeats(rows: Rows, cut: Iterable[str]) -> None:
    """Keep each text once in the cut validation and test splits."""
    for name in cut:
        kept = rows.of(name)
        first = np.unique(rows.same[kept], return_index=True)[1]
        rows.put_aside(np.delete(kept, first), "duplicate")


def _overlaps(config: DataConfig, columns: Columns, rows: Rows, to: str, removable: set[str]) -> list[_Overlaps]:
    """What the splits before `to` share with it; removed where both were cut from the train file."""
    kept, rivals = rows.of(to), rows.of(*SPLITS[: SPLITS.index(to)])
    texts, first = np.unique(rows.same[kept], return_index=True)
    place = np.searchsorted(texts, rows.same[rivals])
    is_exact = np.isin(rows.same[rivals], texts)
    pairs = [np.stack([rivals[is_exact], kept[first[place[is_exact]]]], axis=1)]
    if config.near_duplicates:
        # The last text of the file comes first: where several are as like, it is the one that is named.
        others = kept[first[np.argsort(np.unique(rows.same[kept[::-1]], return_index=True)[1])]]
        apart = rivals[~is_exact]

        def text(record: Record) -> str:
            return text_of(record, columns.texts)

        near = near_matches(Mapped(Picked(rows.records, apart), text), Mapped(Picked(rows.records, others), text))
        pairs.append(np.array([(apart[query], others[other]) for query, other in near.items()], int).reshape(-1, 2))
    removed = [np.isin(rows.split[pair[:, 0]], [SPLITS.index(name) for name in removable]) for pair in pairs]
    found: list[_Overlaps] = []
    for kind, pair, gone in zip(("exact", "near"), pairs, removed, strict=False):
        gone &= to in removable
        rows.put_aside(pair[gone, 0], "duplicate" if kind == "exact" else "near_duplicate")
        found.append(_Overlaps(kind, rows, pair, to, gone))
    return found


class _Overlaps(View[Overlap]):
    """Overlaps of one kind with one split, from `[n, 2]` rows and `[n]` whether the first of both was removed."""

    def __init__(self, kind: str, rows: Rows, pairs: NDArray[np.int64], to: str, removed: NDArray[np.bool_]) -> None:
        self._kind, self._rows, self.pairs, self._to, self._removed = kind, rows, pairs, to, removed

    def __len__(self) -> int:
        return len(self.pairs)

    def item(self, index: int) -> Overlap:
        row, other = map(int, self.pairs[index])
        records, split = self._rows.records, SPLITS[self._rows.split[row]]
        return Overlap(self._kind, records[row], split, records[other], self._to, bool(self._removed[index]))


def _limit(config: DataConfig, label: str, rows: Rows) -> None:
    """Put the rows over the row limits aside."""
    most = {"train": config.max_train_rows, "validation": config.max_validation_rows, "test": config.max_test_rows}
    if config.rows_per_label is None and not any(most.values()):
        return
    free = rows.of(*SPLITS)
    ranked = free[ordered(Digests(f"{config.seed}:{rows.records[row].id}" for row in free).numbers())[0]]
    if config.rows_per_label is not None:
        seen: Counter[str] = Counter()
        for row in ranked[rows.split[ranked] == SPLITS.index("train")]:
            name = label_of(rows.records[row], label)
            seen[name] += 1
            if seen[name] > config.rows_per_label:
                rows.put_aside(row, "over_limit")
    for name, limit in most.items():
        if limit is not None:
            of_split = ranked[(rows.split[ranked] == SPLITS.index(name)) & (rows.bucket[ranked] == FREE)]
            rows.put_aside(of_split[limit:], "over_limit")
