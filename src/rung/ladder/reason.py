"""The recommendation in one plain sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rung.ladder.evidence import Rule, RungEvidence
from rung.ladder.verdicts import Verdict


def reason_for(
    lowest: RungEvidence,
    reference: RungEvidence,
    rungs: Sequence[RungEvidence],
    verdicts: Mapping[str, Verdict],
    rule: Rule,
) -> str:
    """Why `lowest` is the lowest sufficient rung: one sentence, with the bound and the margin in it."""
    margin = f"margin {rule.margin:.3g}"
    if len(rungs) == 1:
        return f"`{lowest.name}` is the only rung that finished, so there is nothing to compare it with ({margin})."
    lower = [rung for rung in rungs if _place(rung) < _place(lowest)]
    if lowest is not reference:
        said = _stand_in(lowest, reference, verdicts[lowest.name], rule)
    elif lower:
        closest = max(lower, key=lambda rung: verdicts[rung.name].lower_bound)
        said = (
            f"`{lowest.name}` is the best on validation, and no cheaper rung is shown to be within the margin: the"
            f" closest, `{closest.name}`, has a {_bound(verdicts[closest.name].lower_bound, rule)}"
            f" on {len(lowest.ids):,} test rows ({margin})"
        )
    else:
        said = f"`{lowest.name}` is the best on validation and costs least, so its bound is 0 by definition ({margin})"
    return said + _undecided(lower, verdicts) + _same_cost(lowest, rungs, verdicts) + "."


def _stand_in(lowest: RungEvidence, reference: RungEvidence, verdict: Verdict, rule: Rule) -> str:
    metric, other = rule.metric.title, reference.name
    gap = f"its {metric} minus that of `{other}`"
    if rule.metric.lower_is_better:
        gap = f"the {metric} of `{other}` minus its own"
    standing = "ties with" if verdict.upper_bound < rule.margin else "is sufficient beside"
    cost = "at less cost" if lowest.total_cost < reference.total_cost else "at the same cost"
    return (
        f"`{lowest.name}` {standing} `{reference.name}`, the best on validation, {cost}: {gap} has a"
        f" {_bound(verdict.lower_bound, rule)} on {len(lowest.ids):,} test rows"
        f" (margin {rule.margin:.3g})"
    )


def _bound(bound: float, rule: Rule) -> str:
    return f"simultaneous {100 * rule.level:.3g} % lower bound of {bound:+.3f}"


def _undecided(lower: Sequence[RungEvidence], verdicts: Mapping[str, Verdict]) -> str:
    """What it would take to decide the lower rung that is nearest to being decided."""
    undecided = [rung for rung in lower if verdicts[rung.name].status == "undecided"]
    if not undecided:
        return ""
    rung = min(undecided, key=lambda rung: (verdicts[rung.name].rows_needed or float("inf"), _place(rung)))
    rows = verdicts[rung.name].rows_needed
    if rows is None:
        return f"; `{rung.name}` costs no more but is undecided, too near the margin for more rows to help"
    return f"; `{rung.name}` costs no more but is undecided: about {rows:,} more test rows would decide"


def _same_cost(lowest: RungEvidence, rungs: Sequence[RungEvidence], verdicts: Mapping[str, Verdict]) -> str:
    for rung in rungs:
        if verdicts[rung.name].is_sufficient and rung is not lowest and rung.total_cost == lowest.total_cost:
            return f"; `{rung.name}` costs the same, and the order of the ladder settles that tie"
    return ""


def _place(rung: RungEvidence) -> tuple[float, int]:
    return rung.total_cost, rung.order
