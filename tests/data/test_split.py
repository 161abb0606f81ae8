from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.data.columns import Columns
from rung.data.ledger import Ledger
from rung.data.readers import Table
from rung.data.records import identify
from rung.data.settings import DataConfig
from rung.data.split import Splits, split
from rung.errors import DataError

COLUMNS = Columns("text", None, "label")
TEXTS = st.one_of(
    st.sampled_from(["", " ", "the same short text", "The  SAME short text", "the same short text!", "yes"]),
    st.text("ab ", max_size=12),
    st.integers(0, 60).map(lambda n: f"a longer text that differs in its number only, here {n}, from the others"),
)
ROWS = st.fixed_dictionaries(
    {"text": TEXTS, "label": st.sampled_from(["x", "y", "z", "", None]), "group": st.sampled_from(["g", "h", None])}
)
CONFIGS = st.fixed_dictionaries(
    {
        "split": st.sampled_from(["hash", "stratified"]),
        "group": st.sampled_from([None, "group"]),
        "near_duplicates": st.booleans(),
        "rows_per_label": st.none() | st.integers(1, 5),
        "max_train_rows": st.none() | st.integers(1, 9),
        "max_test_rows": st.none() | st.integers(1, 9),
        "seed": st.integers(0, 3),
    }
)


def _table(path: str, rows: list[dict]) -> Table:
    records = identify([(row, f"{path}:{line}") for line, row in enumerate(rows, start=1)])
    ledger = Ledger()
    ledger.open(path, len(records))
    return Table(path, ("text", "label", "group"), records, "", ledger)


def _split(files: dict[str, list[dict]], **config: Any) -> tuple[Splits, Ledger]:
    tables = {name: _table(f"{name}.csv", rows) for name, rows in files.items()}
    ledger = Ledger()
    for table in tables.values():
        ledger.include(table.ledger)
    given = DataConfig(**{name: f"{name}.csv" for name in files}, **config)
    return split(given, COLUMNS, tables, ledger), ledger


def _numbered(count: int, **fields: str) -> list[dict]:
    return [{"text": f"{n * n} row {n}", "label": "xy"[n % 2], "group": None, **fields} for n in range(count)]


def _sides(splits: Splits) -> dict[str, str]:
    return {record.fields["text"]: name for name, rows in splits.named().items() for record in rows}


@settings(max_examples=150, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=40), st.none() | st.lists(ROWS, min_size=1, max_size=20), CONFIGS)
def test_every_row_ends_in_exactly_one_bucket(train: list[dict], test: list[dict] | None, config: dict):
    files = {"train": train} | ({"test": test} if test is not None else {})
    splits, ledger = _split(files, **config)
    ledger.check()
    assert ledger.rows() == sum(map(len, files.values()))
    placed = [record for rows in splits.named().values() for record in rows]
    everything = [record.source for record in placed] + [row.record.source for row in splits.set_aside]
    assert sorted(everything) == sorted(f"{name}.csv:{n}" for name in files for n in range(1, len(files[name]) + 1))
    for name, rows in splits.named().items():
        assert ledger.counts().get(name, 0) == len(rows)


@settings(max_examples=100, deadline=None)
@given(st.lists(ROWS, max_size=30), st.lists(ROWS, max_size=30), st.sampled_from([None, "group"]))
def test_no_row_changes_sides_when_rows_are_added(before: list[dict], added: list[dict], group: str | None):
    first, _ = _split({"train": before}, group=group)
    for rows in (before + added, added + before):
        second, _ = _split({"train": rows}, group=group)
        sides: dict[str, set[str]] = {}
        for splits in (first, second):
            for row in (*((record, name) for name, rows in splits.named().items() for record in rows),):
                sides.setdefault(repr(row[0].fields), set()).add(row[1])
        assert all(len(names) == 1 for names in sides.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=40), st.sampled_from(["hash", "stratified"]))
def test_cut_splits_share_no_text(rows: list[dict], how: str):
    splits, _ = _split({"train": rows}, split=how)
    texts = {
        name: [" ".join(row.fields["text"].casefold().split()) for row in rows] for name, rows in splits.named().items()
    }
    assert len(texts["test"]) == len(set(texts["test"]))
    assert not set(texts["test"]) & {*texts["train"], *texts["validation"]}
    assert not set(texts["validation"]) & set(texts["train"])


def test_shares_are_near_what_is_asked():
    splits, _ = _split({"train": _numbered(4000)}, near_duplicates=False)
    assert [len(rows) for rows in splits.named().values()] == [2812, 411, 777]


def test_changing_one_share_moves_no_row_of_the_other():
    one, _ = _split({"train": _numbered(500)}, near_duplicates=False)
    other, _ = _split({"train": _numbered(500)}, near_duplicates=False, test_size=0.4)
    assert one.validation == other.validation
    assert {r.id for r in one.test} < {r.id for r in other.test}


def test_a_group_stays_whole():
    rows = [{"text": f"{n * n} row {n}", "label": "x", "group": f"customer {n % 30}"} for n in range(300)]
    splits, _ = _split({"train": rows}, group="group", near_duplicates=False)
    groups = [{record.fields["group"] for record in rows} for rows in splits.named().values()]
    assert sum(map(len, groups)) == 30
    assert all(groups)


def test_a_group_column_that_does_not_exist():
    with pytest.raises(DataError, match=r"group=groop: no such column in train\.csv\n  Did you mean 'group'\?"):
        _split({"train": _numbered(3)}, group="groop")


def test_stratified_gives_each_class_its_share():
    rows = [{"text": f"{n * n} row {n}", "label": "rare" if n < 10 else "often", "group": None} for n in range(200)]
    splits, _ = _split({"train": rows}, split="stratified", near_duplicates=False)
    rare = {name: sum(r.fields["label"] == "rare" for r in rows) for name, rows in splits.named().items()}
    assert rare == {"train": 7, "validation": 1, "test": 2}
    assert splits.notes == (
        "test and validation cut from train with equal class shares: rows may change sides when rows are added.",
    )


def test_a_class_with_one_row_stays_in_train_when_stratified():
    rows = [*_numbered(20), {"text": "the only one", "label": "single", "group": None}]
    splits, _ = _split({"train": rows}, split="stratified")
    assert _sides(splits)["the only one"] == "train"


def test_repeats_are_kept_once_in_test_and_all_in_train():
    splits, ledger = _split({"train": _numbered(200) * 3}, near_duplicates=False)
    assert len(splits.train) % 3 == 0
    assert ledger.counts()["duplicate"] == 2 * (len(splits.test) + len(splits.validation))
    assert not splits.overlaps


def test_near_duplicates_leave_train_and_validation():
    rows = [
        {
            "text": f"dear {name}, you have won a prize of great value, call us now to get it {n}",
            "label": "x",
            "group": None,
        }
        for n, name in enumerate(["anna", "bert", "carl", "dora"] * 6)
    ]
    splits, ledger = _split({"train": rows})
    assert ledger.counts() == {"test": len(splits.test), "near_duplicate": 24 - len(splits.test)}
    assert {overlap.kind for overlap in splits.overlaps} == {"near"}
    assert all(overlap.removed and overlap.other_split == "test" for overlap in splits.overlaps)


def test_files_of_the_user_are_taken_as_they_are_and_overlaps_reported():
    files = {"train": _numbered(30), "validation": _numbered(5), "test": _numbered(10) * 2}
    splits, ledger = _split(files)
    assert ledger.counts() == {"train": 30, "validation": 5, "test": 20}
    assert not any(overlap.removed for overlap in splits.overlaps)
    exact = [overlap for overlap in splits.overlaps if overlap.kind == "exact"]
    assert sorted({(overlap.split, overlap.other_split) for overlap in exact}) == [
        ("train", "test"),
        ("train", "validation"),
        ("validation", "test"),
    ]


def test_row_limits_are_nested_and_seeded():
    def train(limit: int | None, seed: int = 0) -> list[str]:
        splits, ledger = _split({"train": _numbered(300)}, near_duplicates=False, max_train_rows=limit, seed=seed)
        ledger.check()
        return [record.id for record in splits.train]

    assert len(train(20)) == 20
    assert set(train(20)) < set(train(40)) < set(train(None))
    assert train(20) != train(20, seed=1)
    assert train(None) == train(None, seed=1)


def test_rows_per_label_and_limits_of_the_other_splits():
    config = {"near_duplicates": False, "max_validation_rows": 3, "max_test_rows": 4}
    splits, ledger = _split({"train": _numbered(200)}, rows_per_label=5, **config)
    assert sorted(record.fields["label"] for record in splits.train) == ["x"] * 5 + ["y"] * 5
    assert (len(splits.validation), len(splits.test)) == (3, 4)
    assert ledger.counts()["over_limit"] == 183
