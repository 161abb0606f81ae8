from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rung.config.validation import build
from rung.data.clean import CAUSES, probe_lines
from rung.data.load import LoadedData, load_classification, load_generation
from rung.data.settings import DataConfig
from rung.errors import ConfigError, DataError

NONE = {"prompt": None, "context": None, "completion": None, "messages": None}
WORDS = ("amber", "bricks", "cloud", "delta", "ember", "frost", "grove", "harbours", "inlet", "joist", "knoll", "lotus")
LONG = "the committee agreed on friday to lower the fee for children who borrow more than nine books a month"


def _write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def _plain(count: int) -> list[dict[str, Any]]:
    """Rows of which nothing is wrong, no two alike."""
    chance = random.Random(3)
    picked = [[" ".join(chance.choices(WORDS, k=chance.randint(2, 6))) for _ in range(2)] for _ in range(count)]
    return [{"prompt": f"{n * n} {a} {n}?", "completion": f"{n * 31} {b}"} for n, (a, b) in enumerate(picked)]


def _load(folder: Path, train: list[dict], test: list[dict] | None = None, **clean: Any) -> LoadedData:
    files = {"train": _write(folder / "train.jsonl", train)}
    if test is not None:
        files["test"] = _write(folder / "test.jsonl", test)
    return load_generation(DataConfig(**files, validation_size=0, test_size=0, clean=clean), NONE)


BAD = {
    "empty": {"prompt": "say something of use here", "completion": "... --- ... --- ... ---"},
    "refusal": {"prompt": "who won the cup that year", "completion": "I'm sorry, but I can't help with that request."},
    "toxic": {"prompt": "answer a rude customer now", "completion": "You are a stupid idiot, go away."},
    "contaminated": {"prompt": f"Hm: {LONG}.", "completion": "amber 77 cloud"},
    "near_duplicate": {**_plain(1)[0], "completion": _plain(1)[0]["completion"] + "!"},
    "length_outlier": {"prompt": "tell me everything", "completion": "frost north pearl ember " * 400},
}


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_is_found_and_dropped_where_asked(cause: str, tmp_path: Path) -> None:
    rows = [*_plain(40), BAD[cause]]
    test = [{"prompt": f"what is said of it? {LONG}", "completion": "maple"}]
    kept = _load(tmp_path, rows, test)
    assert kept.report.cleaning.found == {cause: 1}
    assert len(kept.splits.train) == 41
    assert any("kept (data.clean.drop" in one for one in kept.report.sentences())
    gone = _load(tmp_path, rows, test, drop=[cause])
    assert gone.report.cleaning.dropped == {cause: 1}
    assert [row.fields["prompt"] for row in gone.splits.train] == [row["prompt"] for row in rows[:40]]
    assert len(gone.splits.test) == 1
    (aside,) = gone.splits.set_aside
    assert gone.ledger.counts() == {"train": 40, "test": 1, aside.bucket: 1}
    assert gone.ledger.sentences()[0].count(":") == 2


def test_a_clean_set_says_nothing(tmp_path: Path) -> None:
    found = _load(tmp_path, _plain(40), _plain(45)[40:]).report
    assert found.cleaning.found == {}
    assert found.cleaning.sentences() == ()


def test_lines_that_forgetting_is_measured_on_contaminate(tmp_path: Path) -> None:
    line = max(probe_lines(), key=len)
    found = _load(tmp_path, [*_plain(20), {"prompt": "go on", "completion": line}], drop=["contaminated"])
    assert found.report.cleaning.dropped == {"contaminated": 1}


def test_repeats_of_the_users_own_test_rows_are_dropped_from_train_alone(tmp_path: Path) -> None:
    rows, test = _plain(30), [_plain(30)[4], {**_plain(30)[5], "prompt": _plain(30)[5]["prompt"] + "?"}]
    found = _load(tmp_path, rows, test, drop=["contaminated"])
    assert found.report.cleaning.dropped["contaminated"] == 2
    assert len(found.splits.test) == 2
    assert [row.record.source.rsplit(":")[-1] for row in found.splits.set_aside] == ["5", "6"]


def test_wording_that_many_rows_share_is_no_contamination(tmp_path: Path) -> None:
    rows = [{"prompt": f"{LONG}. {row['prompt']}", "completion": row["completion"]} for row in _plain(30)]
    test = [{"prompt": f"{LONG}. maple ocean?", "completion": "north"}]
    assert "contaminated" not in _load(tmp_path, rows, test).report.cleaning.found
    assert _load(tmp_path, rows[:10], test).report.cleaning.found["contaminated"] == 10


def test_row_limits_come_after_cleaning(tmp_path: Path) -> None:
    files = {"train": _write(tmp_path / "train.jsonl", [*_plain(10), *[BAD["empty"]] * 5])}
    config = DataConfig(**files, validation_size=0, test_size=0, max_train_rows=10, clean={"drop": ["empty"]})
    found = load_generation(config, NONE)
    assert len(found.splits.train) == 10
    assert found.ledger.counts() == {"train": 10, "empty_answer": 5}


def test_labels_are_no_answers(tmp_path: Path) -> None:
    rows = [
        {"text": row["prompt"], "label": "I'm sorry, but I can't" if n % 2 else "--"}
        for n, row in enumerate(_plain(30))
    ]
    path = _write(tmp_path / "rows.jsonl", rows)
    config = DataConfig(train=path, validation_size=0, test_size=0, clean={"drop": list(CAUSES)})
    found = load_classification(config, {"text": "text", "text_pair": None, "label": "label"})
    assert not {"empty", "refusal", "toxic"} & set(found.report.cleaning.found)


def test_an_unknown_cause_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="near_duplicate"):
        build(DataConfig, {"train": "a.jsonl", "clean": {"drop": ["near_duplicates"]}})


ROWS = st.lists(st.sampled_from([*_plain(12), *BAD.values()]), min_size=1, max_size=30)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, drop=st.sets(st.sampled_from(CAUSES)))
def test_every_row_is_kept_or_dropped_for_one_cause(rows: list[dict], drop: set[str], tmp_path: Path) -> None:
    try:
        found = _load(tmp_path, rows, [{"prompt": LONG, "completion": "maple"}], drop=sorted(drop))
    except DataError as error:  # all rows may be dropped, and then there is nothing to train on
        assert "no rows to train on" in str(error)
        return
    cleaning = found.report.cleaning
    assert len(found.splits.train) + sum(cleaning.dropped.values()) == len(rows)
    assert set(cleaning.dropped) == drop
    assert all(cleaning.dropped[cause] <= cleaning.found.get(cause, 0) for cause in drop)
    assert sum(found.ledger.counts().values()) == len(rows) + 1
