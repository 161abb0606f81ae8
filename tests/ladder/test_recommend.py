from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import ArtifactError, ConfigError, DataError
from rung.evaluate.statistics import resolution
from rung.ladder.evidence import Rule, RungEvidence, total_cost
from rung.ladder.recommend import Verdict, recommend
from rung.metrics.metric import Metric

ROWS = 1000
ACCURACY = Rule(Metric("accuracy", "accuracy", value=None))


def rung(name: str, wrong: range, *, cost: float, validation: float, order: int = 0, rows: int = ROWS) -> RungEvidence:
    """A rung on a test set of alternating labels that answers the rows in `wrong` wrongly."""
    truth = ["yes" if row % 2 else "no" for row in range(rows)]
    flipped = {"yes": "no", "no": "yes"}
    return RungEvidence(
        name=name,
        model="none" if name in {"majority", "tfidf"} else "minilm-l6",
        method=name,
        order=order,
        total_cost=cost,
        validation_score=validation,
        ids=[f"row-{row}" for row in range(rows)],
        truth=truth,
        predictions=[[flipped[label] if row in wrong else label for row, label in enumerate(truth)]],
    )


def test_the_cheapest_rung_within_the_margin_is_named() -> None:
    full = rung("full", range(0, 50), cost=900, validation=0.95, order=3)
    lora = rung("lora", range(0, 54), cost=300, validation=0.94, order=2)
    tfidf = rung("tfidf", range(0, 300), cost=2, validation=0.70, order=1)
    found = recommend([full, lora, tfidf], ACCURACY)
    assert (found.name, found.reference, found.margin) == ("lora", "full", 0.02)
    assert list(found.verdicts) == ["tfidf", "lora", "full"]
    assert found.verdicts["full"] == Verdict("reference", 0.0, 0.0, 0.0)
    assert found.verdicts["tfidf"].status == "insufficient"
    assert found.verdicts["tfidf"].upper_bound < -0.02
    assert found.verdicts["lora"].status == "sufficient"
    assert found.verdicts["lora"].difference == pytest.approx(-0.004)
    assert found.verdicts["lora"].note == "a tie with `full`, within the margin"
    assert found.bound == found.verdicts["lora"].lower_bound
    assert found.reason == (
        "`lora` ties with `full`, the best on validation, at less cost: its accuracy minus that of `full` has a"
        f" simultaneous 95 % lower bound of {found.bound:+.3f} on 1,000 test rows (margin 0.02)."
    )


def test_the_reference_is_chosen_on_validation_even_when_the_test_rows_disagree() -> None:
    best_on_test = rung("full", range(0, 10), cost=900, validation=0.90)
    reference = rung("lora", range(0, 100), cost=300, validation=0.91)
    found = recommend([best_on_test, reference], ACCURACY)
    assert (found.name, found.reference, found.bound) == ("lora", "lora", 0.0)
    assert found.verdicts["full"].status == "sufficient"
    assert found.verdicts["full"].lower_bound > 0
    assert found.reason == (
        "`lora` is the best on validation and costs least, so its bound is 0 by definition (margin 0.02)."
    )


def test_a_rung_shown_to_be_better_is_sufficient_and_no_tie() -> None:
    better = rung("lora", range(0, 10), cost=300, validation=0.90)
    reference = rung("full", range(0, 100), cost=900, validation=0.91)
    found = recommend([better, reference], ACCURACY)
    assert found.verdicts["lora"].note == ""
    assert found.reason.startswith("`lora` is sufficient beside `full`, the best on validation, at less cost: its")


def test_an_equal_validation_score_makes_the_cheaper_rung_the_reference() -> None:
    dear = rung("full", range(0, 10), cost=900, validation=0.9)
    cheap = rung("lora", range(0, 10), cost=300, validation=0.9)
    assert recommend([dear, cheap], ACCURACY).reference == "lora"


def test_an_undecided_rung_says_how_many_rows_would_decide() -> None:
    full = rung("full", range(0, 50), cost=900, validation=0.95)
    lora = rung("lora", range(40, 100), cost=300, validation=0.94)
    found = recommend([full, lora], ACCURACY)
    verdict = found.verdicts["lora"]
    assert (found.name, verdict.status, verdict.difference) == ("full", "undecided", pytest.approx(-0.01))
    assert verdict.rows_needed is not None
    assert 2000 < verdict.rows_needed < 6000
    assert found.reason == (
        "`full` is the best on validation, and no cheaper rung is shown to be within the margin: the closest, `lora`,"
        f" has a simultaneous 95 % lower bound of {verdict.lower_bound:+.3f} on 1,000 test rows (margin 0.02);"
        f" `lora` costs no more but is undecided: about {verdict.rows_needed:,} more test rows would decide."
    )


def test_a_loss_that_may_or_may_not_exceed_the_margin_is_undecided() -> None:
    full = rung("full", range(0, 50), cost=900, validation=0.95)
    lora = rung("lora", range(0, 72), cost=300, validation=0.94)
    verdict = recommend([full, lora], ACCURACY).verdicts["lora"]
    assert verdict.status == "undecided"
    assert verdict.lower_bound < -0.02 < verdict.upper_bound < 0


def test_no_rows_are_promised_for_a_difference_that_is_the_margin_itself() -> None:
    full = rung("full", range(0, 0), cost=900, validation=0.95, rows=64)
    lora = rung("lora", range(0, 2), cost=300, validation=0.94, rows=64)
    found = recommend([full, lora], replace(ACCURACY, margin=2 / 64))
    assert (found.verdicts["lora"].status, found.verdicts["lora"].rows_needed) == ("undecided", None)
    assert found.reason.endswith("; `lora` costs no more but is undecided, too near the margin for more rows to help.")


def test_identical_answers_on_many_rows_are_a_tie() -> None:
    full, lora = (rung(name, range(50), cost=cost, validation=0.9) for name, cost in (("full", 900), ("lora", 300)))
    verdict = recommend([full, replace(lora, validation_score=0.8)], ACCURACY).verdicts["lora"]
    assert (verdict.status, verdict.difference) == ("sufficient", 0.0)
    assert verdict.lower_bound == -verdict.upper_bound == -resolution(ROWS)


def test_identical_answers_on_few_rows_prove_nothing() -> None:
    full = rung("full", range(2), cost=900, validation=0.9, rows=40)
    lora = rung("lora", range(2), cost=300, validation=0.8, rows=40)
    found = recommend([full, lora], ACCURACY)
    assert (found.name, found.verdicts["lora"].status) == ("full", "undecided")
    # 149 rows without a difference rule out 2 in 100: 109 more, rounded up to two digits.
    assert found.verdicts["lora"].rows_needed == 110


def test_equal_cost_is_settled_by_the_ladder_and_said() -> None:
    first = rung("bitfit", range(50), cost=300, validation=0.9, order=1)
    second = rung("lora", range(50), cost=300, validation=0.9, order=2)
    found = recommend([second, first], ACCURACY)
    assert found.name == "bitfit"
    assert found.reason.endswith("(margin 0.02); `lora` costs the same, and the order of the ladder settles that tie.")


def test_a_rung_below_the_best_control_is_not_worth_its_cost() -> None:
    majority = rung("majority", range(500), cost=0.5, validation=0.5, order=0)
    tfidf = rung("tfidf", range(100), cost=1, validation=0.9, order=1)
    prompted = rung("zero_shot", range(300), cost=50, validation=0.7, order=2)
    lora = rung("lora", range(40), cost=900, validation=0.96, order=3)
    verdicts = recommend([majority, tfidf, prompted, lora], ACCURACY).verdicts
    assert verdicts["zero_shot"].note == "below `tfidf`: not worth its cost"
    assert [verdicts[name].note for name in ("majority", "tfidf", "lora")] == ["", "", ""]
    cheaper = recommend([majority, tfidf, replace(prompted, total_cost=0.9), lora], ACCURACY).verdicts
    assert cheaper["zero_shot"].note == "below `tfidf`: worse, though cheaper"


def test_one_rung_has_nothing_to_be_compared_with() -> None:
    found = recommend([rung("tfidf", range(5), cost=1, validation=0.9)])
    assert (found.name, found.bound, found.reference) == ("tfidf", None, "tfidf")
    assert found.reason == (
        "`tfidf` is the only rung that finished, so there is nothing to compare it with (margin 0.02)."
    )


def test_no_rung_no_recommendation() -> None:
    found = recommend([])
    assert (found.name, found.reason) == (None, "No rung finished, so there is none to recommend.")


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(4)), st.integers(0, 1000))
def test_the_order_of_rungs_and_of_rows_plays_no_part(places: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    wrong = generator.integers(0, 40, size=4)
    rungs = [
        rung(name, range(int(count)), cost=10.0 * order, validation=1 - order / 10, order=order, rows=60)
        for order, (name, count) in enumerate(zip(("tfidf", "few_shot", "lora", "full"), wrong, strict=True))
    ]
    moved = []
    for one in rungs:
        order = generator.permutation(60)
        moved.append(
            replace(
                one,
                ids=[one.ids[row] for row in order],
                truth=[one.truth[row] for row in order],
                predictions=[[one.predictions[0][row] for row in order]],
            )
        )
    rule = Rule(samples=100)
    assert recommend(rungs, rule) == recommend([moved[place] for place in places], rule)


def test_missing_answers_are_wrong() -> None:
    full = rung("full", range(0), cost=900, validation=0.95)
    lora = rung("lora", range(0), cost=300, validation=0.94)
    silent = replace(lora, predictions=[[None] * 100 + list(lora.predictions[0][100:])])
    assert recommend([full, silent], ACCURACY).verdicts["lora"].difference == pytest.approx(-0.1)


def test_seeds_that_disagree_widen_the_bounds() -> None:
    full = rung("full", range(0, 50), cost=900, validation=0.95)
    seeds = [rung("lora", range(0, count), cost=300, validation=0.94) for count in (20, 52, 84)]
    several = replace(seeds[0], predictions=[one.predictions[0] for one in seeds])
    alone = recommend([full, seeds[1]], ACCURACY).verdicts["lora"]
    together = recommend([full, several], ACCURACY).verdicts["lora"]
    assert together.difference == pytest.approx(alone.difference)
    assert (alone.status, together.status) == ("sufficient", "undecided")
    assert together.rows_needed is None
    assert together.note == "its seeds differ so much that more seeds are needed, not more rows alone"


BASE = rung("full", range(5), cost=9, validation=0.9, rows=10)
OTHER = rung("lora", range(5), cost=9, validation=0.9, rows=10)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(OTHER, name="full"), "two rungs are named 'full'"),
        (replace(OTHER, ids=[*OTHER.ids[:9], "new"]), "'full' and 'lora' were not scored on the same test rows"),
        (replace(OTHER, truth=["no"] * 10), "'full' and 'lora' were not scored on the same test rows"),
        (replace(OTHER, truth=["no"] * 9), r"rung 'lora': 10 test rows, 9 labels, answers per seed: \[10\]"),
        (replace(OTHER, predictions=[["no"] * 9]), r"rung 'lora': 10 test rows, 10 labels, answers per seed: \[9\]"),
        (replace(OTHER, predictions=[]), r"rung 'lora': 10 test rows, 10 labels, answers per seed: \[\]"),
        (replace(OTHER, validation_score=float("nan")), "rung 'lora': validation_score=nan, total_cost=9"),
        (replace(OTHER, sums=[[(float("nan"), 1.0)] * 10]), "rung 'lora': a row's score is not a finite number"),
        (replace(OTHER, sums=[[(1.0, 1.0)] * 10]), "'full' and 'lora' were not scored on the same test rows"),
    ],
)
def test_rungs_that_cannot_be_compared_are_refused(other: RungEvidence, message: str) -> None:
    with pytest.raises(DataError, match=message):
        recommend([BASE, other])


def test_a_rule_without_a_margin_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"margin=0\.0\n  Set it above 0"):
        Rule(margin=0.0)
    with pytest.raises(ConfigError, match=r"level=95\n  Set it between 0 and 1"):
        Rule(level=95)


def test_total_cost_counts_training_search_and_requests_alone() -> None:
    cost = {"train_seconds": 60.0, "search_seconds": 5.0, "seconds_per_request": 0.02, "eval_seconds": 99.0}
    assert total_cost(cost, expected_requests=10_000) == pytest.approx(265.0)


@pytest.mark.parametrize("value", [None, -1.0, float("nan"), float("inf")])
def test_an_unmeasured_cost_is_never_taken_as_free(value: float | None) -> None:
    cost = {"train_seconds": value, "search_seconds": 0.0, "seconds_per_request": 0.0}
    with pytest.raises(ArtifactError, match=rf"cost\.json: train_seconds={value}"):
        total_cost(cost, expected_requests=1)
