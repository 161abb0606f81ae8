"""Names the lowest sufficient rung, or says what is missing to name it.

The **reference** is the best rung on validation (ties: the least cost, then the lower place in the ladder), so the
test rows never choose what they judge. `verdicts` says when a rung is sufficient. The **lowest** is the sufficient
rung of the least total cost, ties by ladder order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rung.ladder.evidence import Rule, RungEvidence, check_evidence
from rung.ladder.reason import reason_for
from rung.ladder.verdicts import Verdict, judge

DEFAULT_RULE = Rule()


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer.

    Attributes:
        name: The lowest sufficient rung; None when no rung finished.
        reason: One sentence, with the bound and the margin.
        bound: The rung's lower bound; 0 for the reference, None when there was nothing to compare.
        margin: The margin it was held to.
        reference: The best rung on validation; empty when no rung finished.
        verdicts: Rung name to verdict, in ladder order.
    """

    name: str | None
    reason: str
    bound: float | None
    margin: float
    reference: str
    verdicts: Mapping[str, Verdict]


def recommend(rungs: Sequence[RungEvidence], rule: Rule = DEFAULT_RULE) -> Recommendation:
    """Judges every rung and names the lowest sufficient one; the order of `rungs` plays no part.

    Args:
        rungs: The rungs that finished, all scored on the same test rows.
        rule: Metric, margin, confidence.

    Raises:
        ConfigError: The metric is unknown.
        DataError: The rungs can't be compared.
    """
    if not rungs:
        return Recommendation(None, "No rung finished, so there is none to recommend.", None, rule.margin, "", {})
    rungs = sorted(rungs, key=lambda rung: (rung.order, rung.name))
    check_evidence(rungs)
    reference = min(rungs, key=lambda rung: (-rung.validation_score, rung.total_cost, rung.order))
    verdicts = judge(reference, rungs, rule)
    enough = [rung for rung in rungs if verdicts[rung.name].is_sufficient]
    lowest = min(enough, key=lambda rung: (rung.total_cost, rung.order))
    return Recommendation(
        name=lowest.name,
        reason=reason_for(lowest, reference, rungs, verdicts, rule),
        bound=verdicts[lowest.name].lower_bound if len(rungs) > 1 else None,
        margin=rule.margin,
        reference=reference.name,
        verdicts=verdicts,
    )
