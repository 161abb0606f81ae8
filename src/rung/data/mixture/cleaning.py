"""What is wrong with the train rows of a mixture: looked for in what they say, before templates are laid over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rung.data.clean import Cleaning, clean
from rung.data.mixture.source import COLUMNS, PLACES, ROW, Source, said
from rung.data.rows import ASIDE, FREE, SPLITS, Rows
from rung.data.settings import DataConfig
from rung.data.views import Joined


def clean_sources(config: DataConfig, sources: Sequence[Source]) -> Cleaning:
    """Look the train rows of all sources over together, and move those that are to be dropped.

    A row is compared with the test rows and the earlier train rows of every source, its length with those of its own.

    Args:
        config: The data settings.
        sources: The data sets, their rows on their sides.

    Raises:
        DataError: A source has no train row left.
    """
    assert PLACES[: len(SPLITS)] == SPLITS
    sizes = [len(source.records) for source in sources]
    starts = np.cumsum([0, *sizes])[:-1]
    where = np.concatenate([source.where for source in sources])
    bucket = np.where(where < len(SPLITS), FREE, 0).astype(np.int8)
    nothing = np.empty(0, np.int64)  # texts are compared by their words here, not by their digests
    rows = Rows(Joined([said(source) for source in sources]), nothing.view(np.uint64), nothing, where, bucket.copy())
    shared = [
        (start + one.record.fields[ROW], start + one.other.fields[ROW])
        for start, source in zip(starts.tolist(), sources, strict=True)
        for one in source.overlaps
        if one.other_split == "test"
    ]
    pairs = np.array(shared, np.int64).reshape(-1, 2)
    found = clean(config, COLUMNS, rows, [pairs], np.repeat(np.arange(len(sources)), sizes))
    for source, start, size in zip(sources, starts, sizes, strict=True):
        now = rows.bucket[start : start + size]
        for number in np.unique(now[now != bucket[start : start + size]]).tolist():
            source.put(np.flatnonzero(now == number), ASIDE[number])
        source.require_train()
    return found
