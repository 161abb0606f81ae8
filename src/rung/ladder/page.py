"""The report as one HTML page that needs nothing else: no script, no font, no picture from anywhere.

Every value goes through `plain` and then through autoescape; only `charts` and this module make markup.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from rung.ladder import charts, measure, pooled, prompts, sections, slices, table, trained, units
from rung.ladder.breakeven import break_even
from rung.ladder.charts import Mark
from rung.ladder.examples import examples
from rung.ladder.records import MetricsFile, TestMetrics
from rung.ladder.store import Ladder, RunRecord
from rung.ladder.svg import element
from rung.metrics.metric import Metric

_MOST_POINTS = 400


def render(ladder: Ladder, report: Mapping[str, Any]) -> str:
    """The page of a report.

    Args:
        ladder: What was read: predictions, histories and records that the report does not hold.
        report: What `report_on` made of it.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else units.plain(value),
    )
    environment.filters["code"] = _code
    return environment.get_template("page.html.j2").render(_context(ladder, report))


def _context(ladder: Ladder, report: Mapping[str, Any]) -> dict[str, Any]:
    metric = ladder.metric
    finished = [(rung.title, rung.record) for rung in ladder.rungs if rung.record]
    runs = [(rung.name, record) for rung in ladder.rungs for record in rung.records]
    names = {rung["name"] for rung in report["rungs"] if rung["difference"]}
    compared = [rung for rung in ladder.rungs if rung.name in names]
    labelled = metric.value is None
    lines = table.lines(report)
    heads, ledger = sections.ledger(report["split"])
    cost_heads, costs = sections.costs(report)
    return {
        "columns": table.columns(report),
        "lines": lines,
        "recommended": report["recommended"],
        "facts": _facts(report, metric),
        "config": sections.settings(report["config"]),
        "margin": measure.amount(metric, report["recommended"]["margin"]),
        "gap": measure.gap_name(metric),
        "title": metric.title,
        "unit": metric.unit,
        "requests": f"{report['config']['expected_requests']:,.0f}",
        "cost_heads": cost_heads,
        "costs": costs,
        "rows": [(name, _number(count)) for name, count in (report["split"].get("rows") or {}).items()],
        "sentences": [str(sentence) for sentence in report["split"].get("sentences") or ()],
        "ledger_heads": heads,
        "ledger": ledger,
        "disagreements": sections.disagreements(ladder, compared) if labelled else [],
        "examples": [] if labelled else examples(ladder, compared, metric),
        "calibration": sections.calibration(finished),
        "classes": [
            _classes(name, record.metrics.test) for name, record in finished if isinstance(record.metrics, MetricsFile)
        ],
        "machines": sections.machines(finished),
        "runs": [(name, record.run) for name, record in runs],
        "seeds": trained.seeds_in_words(report),
        "took_columns": trained.columns(report),
        "took": trained.took(report),
        "took_note": trained.note(report),
        "slice_columns": slices.columns(report),
        "slices": slices.lines(report),
        "slice_note": slices.NOTE,
        "charts": _comparisons(report, metric),
        "curves": _curves(finished, pooled.told_by(metric)),
        "growth": _growth(ladder, report),
        "break_even": break_even(report["rungs"], report["metric"]),
        "searches": prompts.searches(finished),
        "shot_curves": prompts.curves(finished),
    }


def _facts(report: Mapping[str, Any], metric: Metric) -> list[tuple[str, str, str]]:
    """The recommended rung in four numbers: what it is, the number, what to hold it against."""
    name = report["recommended"]["name"]
    rung = next((rung for rung in report["rungs"] if rung["name"] == name and rung["metrics"]), None)
    if rung is None:
        return []
    quality, cost, difference = rung["metrics"][metric.name], rung["cost"], rung["difference"]
    reference = next(rung for rung in report["rungs"] if rung["difference"] and _is_reference(rung))
    ratio = reference["cost"]["total_seconds"] / max(cost["total_seconds"], 1e-9)
    worse = "above" if metric.lower_is_better else "below"
    against = "no rung is better on validation" if rung is reference else f"{worse} {reference['name']}, at worst"
    return [
        (
            f"{metric.title} on test",
            units.score(quality["value"]),
            f"95 % interval {quality['low']:.3f} to {quality['high']:.3f}",
        ),
        (
            against,
            measure.short_amount(metric, max(-difference["lower_bound"], 0)),
            f"margin {measure.short_amount(metric, report['recommended']['margin'])}",
        ),
        ("to train", units.seconds(cost["train_seconds"]), f"{units.size(cost['peak_memory_bytes'])} peak memory"),
        (
            "per request",
            units.milliseconds(cost["seconds_per_request"]),
            "the reference itself" if rung is reference else f"in all, {ratio:.2g}× cheaper than the reference",
        ),
    ]


def _marks(report: Mapping[str, Any], metric: Metric) -> list[tuple[Mark, Mark]]:
    """Each compared rung's quality, and its difference to the reference; cheapest first."""
    pairs = []
    for rung in report["rungs"]:
        difference = rung["difference"]
        if difference is None:
            continue
        kind = (
            "pick" if rung["name"] == report["recommended"]["name"] else "reference" if _is_reference(rung) else "other"
        )
        cost = rung["cost"]["total_seconds"]
        quality = Mark(rung["name"], *measure.interval(metric, rung["metrics"][metric.name]), cost, kind)
        gap = Mark(rung["name"], difference["value"], difference["lower_bound"], difference["value"], cost, kind)
        pairs.append((quality, gap))
    return sorted(pairs, key=lambda pair: pair[0].cost)


def _comparisons(report: Mapping[str, Any], metric: Metric) -> dict[str, Markup]:
    marks, margin = _marks(report, metric), report["recommended"]["margin"]
    if len(marks) < 2:
        return {}
    qualities, gaps = [pair[0] for pair in marks], [pair[1] for pair in marks]
    limit = next(quality.value for quality, gap in marks if gap.low == gap.value == 0) - margin
    draw = {
        "differences": lambda key, width: charts.differences(gaps, key, width, margin, metric),
        "cost": lambda key, width: charts.quality_against_cost(qualities, key, width, limit, metric),
    }
    return {name: _both_sizes(name, picture) for name, picture in draw.items()}


def _growth(ladder: Ladder, report: Mapping[str, Any]) -> Markup | None:
    metric = ladder.metric
    kinds = {quality.name: quality.kind for quality, _ in _marks(report, metric)}
    curves = {
        name: [
            (
                point.rows,
                Mark(
                    name,
                    *measure.interval(metric, point.scores[metric.name].model_dump()),
                    kind=kinds.get(name, "other"),
                ),
            )
            for point in curve
            if metric.name in point.scores
        ]
        for name, curve in ladder.learning_curve.items()
        if any(metric.name in point.scores for point in curve)
    }
    if not curves:
        return None
    return _both_sizes("growth", lambda key, width: charts.quality_by_rows(curves, key, width, metric))


def _curves(finished: Sequence[tuple[str, RunRecord]], metric: Metric) -> list[tuple[str, list[Markup]]]:
    """Training loss, and what was scored on validation rows of loss and metric, by step, for each trained rung."""
    panels = []
    for index, (name, record) in enumerate(finished):
        curves = [
            ("loss", "training loss", [(float(row.step), row.loss) for row in record.history if row.loss is not None])
        ]
        for kind, told in {"loss": "loss", metric.name: metric.title}.items():
            checked = [
                (float(row.step), float(score))
                for row in record.history
                if row.validation and isinstance(score := row.validation.get(kind), int | float)
            ]
            curves.append((f"validation-{kind}", f"validation {told}", checked))
        drawn = [
            charts.steps(_thinned(curve), f"steps-{index}-{kind}", told, f"{name}: {told} by step")
            for kind, told, curve in curves
            if len(curve) > 1
        ]
        if drawn:
            panels.append((name, drawn))
    return panels


def _classes(name: str, metrics: TestMetrics) -> dict[str, Any]:
    few = len(metrics.labels) <= sections.MOST_CLASSES
    return {
        "name": name,
        "labels": metrics.labels,
        "confusion": sections.confusion_rows(metrics) if few else [],
        "pairs": [] if few else [(*pair[:3], f"{pair[3]:.0%}") for pair in sections.confused_pairs(metrics)],
        "scores": [
            (row.label, units.score(row.precision), units.score(row.recall), units.score(row.f1), f"{row.support:,}")
            for row in metrics.per_class
        ],
    }


def _thinned(curve: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    stride = -(-len(curve) // _MOST_POINTS)
    return curve if stride == 1 else [*curve[:-1:stride], curve[-1]]


def _is_reference(rung: Mapping[str, Any]) -> bool:
    return rung["difference"]["verdict"] == "reference"


def _both_sizes(name: str, draw: Callable[[str, int], Markup]) -> Markup:
    """A chart drawn for wide and for narrow screens; the page shows one of the two."""
    sizes = (("wide", 1000), ("narrow", 360))
    return Markup("").join(element("div", draw(f"{name}-{size}", width), class_=size) for size, width in sizes)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _code(words: str) -> Markup:
    """Text with `names` in backticks set as code."""
    parts = re.split(r"`([^`]*)`", units.plain(words))
    return Markup("").join(element("code", part) if index % 2 else escape(part) for index, part in enumerate(parts))
