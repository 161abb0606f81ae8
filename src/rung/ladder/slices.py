"""Quality on parts of the test rows: by the values of columns, each rung beside the model asked plainly.

A mean over all rows hides what happens to a few: a held-out task, a language, a customer. Each part is resampled
alone, so its intervals are those of its own rows; they are not corrected for how many parts are looked at, and the page
says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rung.data.content import as_text
from rung.errors import ConfigError, unknown
from rung.evaluate.intervals import sums_interval
from rung.evaluate.statistics import bootstrap_interval
from rung.ladder import units
from rung.ladder.evidence import Rule, RungEvidence, compare
from rung.metrics.classification import METRICS, class_counts, label_indices
from rung.metrics.metric import Metric

MOST_VALUES = 20
"""Values of a column that are told apart; the rarer ones stand together."""
REST = "(other values)"
_PLAIN = "zero_shot"


def check_slices(names: Sequence[str], columns: Sequence[str]) -> None:
    """Refuse parts by columns that there are none of.

    Raises:
        ConfigError: One is no column of the test rows.
    """
    for name in names:
        if name not in columns:
            raise ConfigError(
                f"slices={name}: {unknown('column', name, columns)}", "Name columns that the test rows have."
            )


def by_slice(
    rungs: Sequence[RungEvidence], test: Mapping[str, Mapping[str, Any]], columns: Sequence[str], metric: Metric
) -> list[dict[str, Any]]:
    """What each rung reaches on each part of the test rows.

    Args:
        rungs: The compared rungs in ladder order, all on the same test rows.
        test: Test rows by id.
        columns: Columns whose values cut the rows into parts.
        metric: The main metric.

    Returns:
        One entry a column and value: `column`, `value`, `rows`, `against` (the first zero-shot rung, else the first),
        and per rung `name`, `value`, `low`, `high` and `difference` to `against` with its paired interval, turned so
        that above 0 is better; None for `against` itself.
    """
    if not rungs:
        return []
    against = next((rung for rung in rungs if rung.method == _PLAIN), rungs[0])
    others = [rung for rung in rungs if rung is not against]
    found = []
    for column in columns:
        for value, kept in _parts(against.ids, test, column):
            first, rest = _cut(against, kept), [_cut(rung, kept) for rung in others]
            gaps = _differences(first, rest, metric)
            entries = {
                rung.name: {"name": rung.name, **_estimate(rung, metric), "difference": gap}
                for rung, gap in zip((first, *rest), (None, *gaps), strict=True)
            }
            found.append(
                {
                    "column": column,
                    "value": value,
                    "rows": len(kept),
                    "against": against.name,
                    "rungs": [entries[rung.name] for rung in rungs],
                }
            )
    return found


def columns(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The heads of the table."""
    title = report["metric"]["title"]
    gap = "gain over" if report["metric"]["lower_is_better"] else "difference to"
    against = report["slices"][0]["against"] if report.get("slices") else ""
    return ("part", "rows", "rung", f"{title} (95 % interval)", f"{gap} {against} (95 % interval)")


def lines(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A line a part and rung; a part's name and rows stand in its first line."""
    told = []
    for part in report.get("slices", ()):
        name, rows = f"{part['column']} = {part['value']}", f"{part['rows']:,}"
        for rung in part["rungs"]:
            gap = rung["difference"]
            reached = units.estimate({key: rung[key] for key in ("value", "low", "high")})
            told.append((name, rows, rung["name"], reached, _between(gap)))
            name = rows = ""
    return told


def _between(gap: Mapping[str, float] | None) -> str:
    if gap is None:
        return units.NOTHING
    return f"{units.signed(gap['value'])} ({units.signed(gap['low'])} to {units.signed(gap['high'])})"


NOTE = (
    "Each part is resampled by itself, in pairs of the same rows. The intervals are of one part and one rung each: of"
    " twenty looked at, one misses by chance."
)


def _parts(ids: Sequence[str], test: Mapping[str, Mapping[str, Any]], column: str) -> list[tuple[str, frozenset[str]]]:
    """The values of a column, in order, with the ids of their rows; rows that were not kept are in no part."""
    values = {row: as_text(test[row].get(column)) for row in ids if row in test}
    common = [value for value, _ in Counter(values.values()).most_common(MOST_VALUES)]
    named = {row: value if value in common else REST for row, value in values.items()}
    order = [*sorted(common), *([REST] if REST in named.values() else [])]
    return [(value, frozenset(row for row, own in named.items() if own == value)) for value in order]


def _cut(rung: RungEvidence, kept: frozenset[str]) -> RungEvidence:
    places = [place for place, row in enumerate(rung.ids) if row in kept]

    def part(run: Sequence[Any]) -> list[Any]:
        return [run[place] for place in places]

    return replace(
        rung,
        ids=part(rung.ids),
        truth=part(rung.truth) if rung.truth else (),
        predictions=[part(run) for run in rung.predictions],
        sums=[part(run) for run in rung.sums],
    )


def _estimate(rung: RungEvidence, metric: Metric) -> dict[str, float]:
    """The mean over the seeds, with its interval."""
    if metric.value is not None:
        sums = np.asarray(rung.sums, dtype=np.float64)
        low, high = sums_interval(sums, metric.value)
        return {"value": float(np.mean([metric.of(run) for run in sums])), "low": low, "high": high}
    labels = sorted({str(one) for run in rung.predictions for one in run if one is not None}.union(rung.truth))
    truth = label_indices(labels, rung.truth)
    given = np.stack([label_indices(labels, run) for run in rung.predictions])
    low, high = bootstrap_interval(truth, given, len(labels), metric.name)
    of = METRICS[metric.name]
    value = float(np.mean([of(class_counts(truth, run, len(labels))) for run in given]))
    return {"value": value, "low": low, "high": high}


def _differences(first: RungEvidence, rest: Sequence[RungEvidence], metric: Metric) -> list[dict[str, float]]:
    if not rest:
        return []
    return compare(first, rest, Rule(metric)).estimates()
