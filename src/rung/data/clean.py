"""What is wrong with train rows: found before anything is paid for, reported, and removed where that is asked.

Test rows are never removed: whoever leaves them out measures something else.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from rung.data.columns import Columns
from rung.data.contamination import Runs, runs
from rung.data.content import as_text, text_of
from rung.data.lexical import WORD, is_abusive, is_refusal
from rung.data.near import near_repeats
from rung.data.rows import FREE, SPLITS, Rows
from rung.data.settings import Cause, DataConfig
from rung.data.views import Mapped, Picked
from rung.types import Record

CAUSES: tuple[Cause, ...] = get_args(Cause)
"""In the order in which they are looked at: a row of several is dropped for the first of them."""

WORDS: dict[Cause, str] = {
    "empty": "whose answer holds no letter or digit",
    "refusal": "whose answer declines what was asked",
    "toxic": "with a word of the short list of abuse",
    "contaminated": "that hold text of test rows, or of the lines that forgetting is measured on",
    "near_duplicate": "that repeat an earlier train row, exactly or nearly",
    "length_outlier": "far longer or shorter than the others",
}
"""Cause to how its train rows are called in a sentence."""

_BUCKETS: dict[Cause, str] = {"empty": "empty_answer", "near_duplicate": "near_repeat"}
_SHOWN = 3
_OFTEN = 10
"""Train rows that share a run of words beyond which it is a form's wording (Brown et al. 2020)."""
_MANY = 100_000
"""Train rows beyond which near duplicates among them are looked for only where they are to be dropped."""
_TO_SIGMA = 1.4826
"""A normal distribution's standard deviation in median absolute deviations."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What was found in train rows.

    Attributes:
        found: Cause to the number of its rows.
        dropped: Cause to the number of rows removed for it: a row counts once, for the first of its causes.
        examples: Cause to the places of the first rows.
        skipped: Causes that were not looked for.
    """

    found: Mapping[str, int] = field(default_factory=dict[str, int])
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    skipped: tuple[str, ...] = ()

    def sentences(self) -> tuple[str, ...]:
        """A sentence for each cause that has rows."""
        return tuple(self._said(cause) for cause in CAUSES if self.found.get(cause)) + tuple(
            f"Train rows {WORDS[cause]} were not looked for: more than {_MANY:,} rows. data.clean.drop=[{cause}] does."
            for cause in CAUSES
            if cause in self.skipped
        )

    def _said(self, cause: Cause) -> str:
        gone, count = self.dropped.get(cause), self.found[cause]
        if gone is None:
            fate = f"kept (data.clean.drop=[{cause}] would remove them)"
        else:
            fate = "removed" if gone == count else f"{gone:,} removed, the others for another cause"
        return f"Train rows {WORDS[cause]}: {count:,}, {fate}; for example {', '.join(self.examples[cause])}."


def clean(
    config: DataConfig,
    columns: Columns,
    rows: Rows,
    shared: Sequence[NDArray[np.int64]],
    kinds: NDArray[np.int64] | None = None,
) -> Cleaning:
    """Look the train rows over, and put those aside that are to be dropped.

    Args:
        config: The data settings.
        columns: The text and label columns; answers are looked at where they are open.
        rows: All rows; train rows that are dropped are put aside in it.
        shared: `[n, 2]` pairs of rows, the second a test row that the first repeats exactly or nearly.
        kinds: `[rows]` which data set each is of: lengths are compared within one. None = all are of one.
    """
    train = rows.of("train")
    wanted = config.clean.drop
    looked = _Look(columns, rows, train, shared)
    skipped: tuple[str, ...] = ()
    if not config.near_duplicates or (len(train) > _MANY and "near_duplicate" not in wanted):
        skipped = ("near_duplicate",) if config.near_duplicates else ()
    else:
        looked.find_repeats()
    of_train = np.zeros(len(train), np.int64) if kinds is None else kinds[train]
    for kind in np.unique(of_train):
        looked.find_outliers(config.clean.outlier_deviations, of_train == kind)
    dropped: dict[str, int] = {}
    for cause in CAUSES:
        if cause in wanted:
            still = train[looked.marks[cause]]
            still = still[rows.bucket[still] == FREE]
            rows.put_aside(still, _BUCKETS.get(cause, cause))
            dropped[cause] = len(still)
    places = {cause: train[mark] for cause, mark in looked.marks.items() if mark.any()}
    return Cleaning(
        {cause: len(found) for cause, found in places.items()},
        dropped,
        {cause: tuple(rows.records[int(row)].source for row in found[:_SHOWN]) for cause, found in places.items()},
        skipped,
    )


@cache
def probe_lines() -> tuple[str, ...]:
    """The shipped general lines, on which `rung.evaluate.forgetting` measures."""
    text = files("rung").joinpath("evaluate/general.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line)["text"] for line in text.splitlines())


class _Look:
    """One look at the train rows.

    Attributes:
        marks: Cause to `[train]` whether a row has it.
    """

    def __init__(
        self, columns: Columns, rows: Rows, train: NDArray[np.int64], shared: Sequence[NDArray[np.int64]]
    ) -> None:
        self._columns, self._records = columns, Picked(rows.records, train)
        self.marks: dict[Cause, NDArray[np.bool_]] = {cause: np.zeros(len(train), dtype=bool) for cause in CAUSES}
        self._lengths = np.zeros((len(train), 2))
        test = Picked(rows.records, rows.of("test"))
        tests = Runs(text for record in test for text in self._texts(record))
        probes = Runs(probe_lines())
        hits: list[tuple[int, set[int]]] = []
        for row, record in enumerate(self._records):
            texts = self._texts(record)
            self._lengths[row, : len(texts)] = [len(text.strip()) for text in texts]
            own = np.concatenate([runs(text) for text in texts])
            self.marks["contaminated"][row] = bool(probes.shared(own))
            if found := tests.shared(own):
                hits.append((row, found))
            if columns.open:
                self._read_answer(row, texts[-1])
                self.marks["toxic"][row] = any(map(is_abusive, texts))
        self._mark_runs(hits)
        of_train = rows.split == SPLITS.index("train")
        known = np.concatenate([pairs[:, 0] for pairs in shared]) if shared else np.empty(0, np.int64)
        known = known[of_train[known]]
        self.marks["contaminated"] |= np.isin(train, known)

    def find_repeats(self) -> None:
        """Mark rows that repeat an earlier one, answer included where it is open."""
        columns = (*self._columns.texts, *((self._columns.label,) if self._columns.open else ()))

        def text(record: Record) -> str:
            return text_of(record, columns)

        self.marks["near_duplicate"][list(near_repeats(Mapped(self._records, text)))] = True

    def find_outliers(self, deviations: float, among: NDArray[np.bool_]) -> None:
        """Mark rows whose prompt or answer is so far from the median length of some rows, both in logarithms."""
        logs = np.log1p(self._lengths[among])
        away = np.abs(logs - np.median(logs, axis=0))
        spread = _TO_SIGMA * np.median(away, axis=0)
        # Where half of all lengths are equal there is no spread to measure others by.
        self.marks["length_outlier"][among] = ((away > deviations * spread) & (spread > 0)).any(axis=1)

    def _texts(self, record: Record) -> list[str]:
        """What is asked, and the answer where it is open."""
        asked = " ".join(as_text(record.fields.get(column)) for column in self._columns.texts)
        return [asked, as_text(record.fields.get(self._columns.label))] if self._columns.open else [asked]

    def _read_answer(self, row: int, answer: str) -> None:
        self.marks["empty"][row] = not WORD.search(answer)
        self.marks["refusal"][row] = is_refusal(answer)

    def _mark_runs(self, hits: Sequence[tuple[int, set[int]]]) -> None:
        """Mark rows that share a run of words with a test row, unless many rows do."""
        often = Counter(run for _, found in hits for run in found)
        for row, found in hits:
            if any(often[run] <= _OFTEN for run in found):
                self.marks["contaminated"][row] = True
