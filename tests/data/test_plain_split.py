"""The product splits and checks with arrays; here it is done with lists of rows, and must come out the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from rung.data.checks import check
from rung.data.columns import Columns
from rung.data.content import as_text, digest, label_of, normalise, text_of
from rung.data.ledger import Ledger
from rung.data.near import near_matches
from rung.data.readers import Table
from rung.data.records import identify
from rung.data.settings import DataConfig
from rung.data.split import SPLITS, Overlap, Splits, split
from rung.errors import DataError
from rung.types import Record

COLUMNS = Columns("text", None, "label")
TEXTS = st.one_of(
    st.sampled_from(["", " ", "the same short text", "The  SAME short text", "the same short text!", "yes"]),
    st.text("ab ", max_size=12),
    st.integers(0, 60).map(lambda n: f"a longer text that differs in its number only, here {n}, from the others"),
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"text": TEXTS, "label": st.sampled_from(["x", "y", "z", "", None]), "group": st.sampled_from(["g", "h", None])}
    ),
    min_size=1,
    max_size=40,
)
CONFIGS = st.fixed_dictionaries(
    {
        "split": st.sampled_from(["hash", "stratified"]),
        "group": st.sampled_from([None, "group"]),
        "near_duplicates": st.booleans(),
        "test_size": st.sampled_from([0, 0.2, 0.5]),
        "rows_per_label": st.none() | st.integers(1, 5),
        "max_train_rows": st.none() | st.integers(1, 9),
        "max_test_rows": st.none() | st.integers(1, 9),
        "seed": st.integers(0, 3),
    }
)


@settings(max_examples=200, deadline=None)
@given(ROWS, st.none() | ROWS, st.none() | ROWS, CONFIGS)
def test_rows_in_arrays_are_split_as_rows_in_lists(
    train: list[dict], validation: list[dict] | None, test: list[dict] | None, config: dict
):
    files = {"train": train, "validation": validation, "test": test}
    tables = {name: _table(f"{name}.csv", rows) for name, rows in files.items() if rows is not None}
    ledger = Ledger()
    for table in tables.values():
        ledger.include(table.ledger)
    given = DataConfig(**{name: table.path for name, table in tables.items()}, **config)
    found = split(given, COLUMNS, tables, ledger)
    rows, overlaps = split_plainly(given, COLUMNS, tables)
    for name in SPLITS:
        assert found.named()[name] == [row.record for row in rows if row.split == name and not row.bucket]
    assert list(found.overlaps) == overlaps
    aside = [(row.record, row.bucket, row.split) for row in rows if row.bucket]
    assert [(row.record, row.bucket, row.split) for row in found.set_aside] == aside
    try:
        report = check(found, COLUMNS)
    except DataError:
        return
    assert [(conflict.text, conflict.rows) for conflict in report.conflicts] == conflicts(found, COLUMNS)
    lengths = sorted(len(as_text(record.fields["text"])) for rows in found.named().values() for record in rows)
    assert list(report.characters.values()) == [lengths[0], lengths[len(lengths) // 2], lengths[-1]]
    for name, kept in found.named().items():
        assert report.repeated_in[name] == len(kept) - len({text_of(record, ["text"]) for record in kept})
        counted = sorted(label_of(record, "label") for record in kept)
        assert report.classes[name] == {label: counted.count(label) for label in dict.fromkeys(counted)}
        assert list(report.classes[name]) == list(dict.fromkeys(counted))


def _table(path: str, rows: list[dict]) -> Table:
    records = identify([(row, f"{path}:{line}") for line, row in enumerate(rows, start=1)])
    ledger = Ledger()
    ledger.open(path, len(records))
    return Table(path, ("text", "label", "group"), records, "", ledger)


@dataclass(slots=True)
class Row:
    """A row with all that is decided on it."""

    record: Record
    text: str
    split: str
    bucket: str | None = None


def split_plainly(config: DataConfig, columns: Columns, tables: Mapping[str, Table]) -> tuple[list[Row], list[Overlap]]:
    """Every row of every table with its split and bucket, and the overlaps."""
    rows = [
        Row(record, text_of(record, columns.texts), name) for name, table in tables.items() for record in table.records
    ]
    for row in rows:
        if any(not normalise(as_text(row.record.fields.get(column))) for column in columns.needed):
            row.bucket = "empty_text"
        elif not label_of(row.record, columns.label):
            row.bucket = "missing_label"
    _assign(config, columns.label, [row for row in rows if row.split == "train" and not row.bucket])
    cut = config.cut()
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if row.bucket or row.split not in cut:
            continue
        if (row.split, row.text) in seen:
            row.bucket = "duplicate"
        seen.add((row.split, row.text))
    removable = {"train", *cut} if cut else set()
    overlaps = [overlap for to in ("test", "validation") for overlap in _overlaps(config, rows, to, removable)]
    _limit(config, columns.label, rows)
    return rows, overlaps


def conflicts(splits: Splits, columns: Columns) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Texts with several labels, and (label, source) of their rows."""
    by_text: defaultdict[str, list[Record]] = defaultdict(list)
    aside = [row.record for row in splits.set_aside if row.bucket not in ("empty_text", "missing_label")]
    for record in (*splits.train, *splits.validation, *splits.test, *aside):
        by_text[text_of(record, columns.texts)].append(record)
    return [
        (
            " / ".join(as_text(rows[0].fields.get(column)) for column in columns.texts),
            tuple((label_of(record, columns.label), record.source) for record in rows),
        )
        for rows in by_text.values()
        if len({label_of(record, columns.label) for record in rows}) > 1
    ]


def _assign(config: DataConfig, label: str, rows: list[Row]) -> None:
    units: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        group = normalise(as_text(row.record.fields.get(config.group))) if config.group else ""
        units[digest(f"group:{group}" if group else f"text:{row.text}")].append(row)
    cut = config.cut()
    side = _by_hash(config, cut, units) if config.split == "hash" else _by_label(config, cut, label, units)
    for key, members in units.items():
        for row in members:
            row.split = side[key]


def _by_hash(config: DataConfig, cut: Iterable[str], units: Iterable[str]) -> dict[str, str]:
    def side(key: str) -> str:
        position = int(key[:13], 16) / 16**13
        if "test" in cut and position < config.test_size:
            return "test"
        return "validation" if "validation" in cut and position >= 1 - config.validation_size else "train"

    return {key: side(key) for key in units}


def _by_label(config: DataConfig, cut: Iterable[str], label: str, units: Mapping[str, list[Row]]) -> dict[str, str]:
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


def _overlaps(config: DataConfig, rows: list[Row], to: str, removable: set[str]) -> list[Overlap]:
    kept = [row for row in rows if row.split == to and not row.bucket]
    rivals = [row for row in rows if row.split in SPLITS[: SPLITS.index(to)] and not row.bucket]
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


def _limit(config: DataConfig, label: str, rows: list[Row]) -> None:
    ranked = sorted((row for row in rows if not row.bucket), key=lambda row: digest(f"{config.seed}:{row.record.id}"))
    if config.rows_per_label is not None:
        by_label: defaultdict[str, list[Row]] = defaultdict(list)
        for row in ranked:
            if row.split == "train":
                by_label[label_of(row.record, label)].append(row)
        for members in by_label.values():
            _put_aside(members[config.rows_per_label :])
    most = {"train": config.max_train_rows, "validation": config.max_validation_rows, "test": config.max_test_rows}
    for name, limit in most.items():
        if limit is not None:
            _put_aside([row for row in ranked if row.split == name and not row.bucket][limit:])


def _put_aside(rows: Iterable[Row]) -> None:
    for row in rows:
        row.bucket = "over_limit"
