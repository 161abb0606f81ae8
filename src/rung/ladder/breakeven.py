"""From how many requests on a trained rung is cheaper than a prompted one, which pays for its prompt at every call."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

PROMPTED = frozenset({"zero_shot", "few_shot", "prompt_search"})
CONTROLS = frozenset({"majority", "tfidf"})


def break_even(rungs: Sequence[Mapping[str, Any]], metric: Mapping[str, Any]) -> str:
    """One sentence on the best prompted and the best trained rung; "" where one of them is missing.

    Best is the score on the test rows: this tells what they cost, and chooses neither.

    Args:
        rungs: As a report has them, with `method`, `metrics` and `cost`.
        metric: What they are compared by, as the report has it: `name`, `lower_is_better`.
    """
    name = metric["name"]
    # A run of another task may stand among them, without this metric.
    finished = [rung for rung in rungs if name in (rung["metrics"] or ()) and rung["cost"] and _known(rung["cost"])]
    prompted = [rung for rung in finished if rung["method"] in PROMPTED]
    trained = [rung for rung in finished if rung["method"] not in PROMPTED | CONTROLS]
    if not prompted or not trained:
        return ""
    best = min if metric["lower_is_better"] else max

    def score(rung: Mapping[str, Any]) -> float:
        return float(rung["metrics"][name]["value"])

    asked, learned = (best(kind, key=score) for kind in (prompted, trained))
    return f"{_told(asked, 'once')}; {_told(learned, 'to train')}: {_compared(asked, learned)}."


def requests_between(fixed: tuple[float, float], each: tuple[float, float]) -> float | None:
    """Requests after which two ways have cost the same; None where one is never dearer than the other.

    Args:
        fixed: Seconds each takes once.
        each: Seconds each takes per request.
    """
    gap, rate = fixed[1] - fixed[0], each[0] - each[1]
    if gap * rate <= 0:
        return None
    return gap / rate


def _compared(asked: Mapping[str, Any], learned: Mapping[str, Any]) -> str:
    fixed, each = (_once(asked), _once(learned)), (_each(asked), _each(learned))
    meet = requests_between(fixed, each)
    if meet is None:
        cheaper = asked if (fixed[0], each[0]) <= (fixed[1], each[1]) else learned
        return f"{cheaper['name']} is the cheaper however many requests there are"
    first = learned if each[1] < each[0] else asked
    return f"from {math.ceil(round(meet, 6)):,} requests on, {first['name']} is the cheaper"


def _told(rung: Mapping[str, Any], verb: str) -> str:
    cost = rung["cost"]
    tokens = cost.get("tokens_per_request")
    read = f" and {tokens:,.0f} tokens" if tokens else ""
    return f"{rung['name']} takes {_once(rung):,.4g} s {verb} and {1000 * _each(rung):,.3g} ms{read} a request"


def _once(rung: Mapping[str, Any]) -> float:
    return float(rung["cost"]["train_seconds"]) + float(rung["cost"]["search_seconds"])


def _each(rung: Mapping[str, Any]) -> float:
    return float(rung["cost"]["seconds_per_request"])


def _known(cost: Mapping[str, Any]) -> bool:
    return all(cost.get(key) is not None for key in ("train_seconds", "search_seconds", "seconds_per_request"))
