"""The search over learning rates, without a model."""

from __future__ import annotations

import json
import math

import pytest

from rung.run.rates import Range, SearchSettings, Trial, best, is_hopeless, next_rate

AMONG = Range(5e-4, 30.0)


def finished(rate: float, loss: float, half: float | None = None) -> Trial:
    return Trial(rate, "finished", {10: half or loss, 20: loss}, loss)


def searched(optimum: float, trials: int = 8, seed: int = 0) -> list[Trial]:
    """A search where the loss grows with the distance to the optimum, and far above it nothing is learned."""
    done: list[Trial] = []
    while len(done) < trials:
        rate = next_rate(done, AMONG, seed)
        if rate > 20 * optimum:
            done.append(Trial(rate, "diverged"))
        else:
            done.append(finished(rate, 0.2 + 0.2 * abs(math.log(rate / optimum))))
    return done


def test_the_default_comes_first_and_the_range_is_spanned() -> None:
    rates = [trial.learning_rate for trial in searched(1e-3)]
    assert rates[0] == 5e-4
    assert sorted(rates[:5]) == [1.67e-5, 9.13e-5, 5e-4, 2.74e-3, 1.5e-2]
    assert (AMONG.low, AMONG.high) == (1.67e-5, 1.5e-2)
    assert all(AMONG.low <= rate <= AMONG.high for rate in rates)
    assert len(set(rates)) == len(rates)


@pytest.mark.parametrize("optimum", [5e-5, 2e-3, 8e-3])
def test_the_search_closes_in(optimum: float) -> None:
    done = searched(optimum)
    taken, coarse = best(done), best(done[:5])
    assert taken is not None
    assert coarse is not None
    assert abs(math.log(taken.learning_rate / optimum)) < math.log(1.5)
    assert taken.loss is not None
    assert coarse.loss is not None
    assert taken.loss < coarse.loss


def test_what_is_asked_next_is_a_function_of_what_was_found() -> None:
    done = searched(2e-3)
    assert searched(2e-3) == done
    for count in range(len(done)):
        assert next_rate(done[:count], AMONG, 0) == done[count].learning_rate


def test_no_rate_is_tried_twice_at_the_edge_of_the_range() -> None:
    rates = [trial.learning_rate for trial in searched(1.0, trials=9)]
    assert len(set(rates)) == 9


def test_a_trial_that_is_worse_than_half_of_the_others_is_given_up() -> None:
    done = [finished(1e-3, 0.3, 0.5), finished(2e-3, 0.2, 0.4), finished(3e-3, 0.4, 0.6)]
    assert is_hopeless(done, AMONG, 10, 0.7)
    assert not is_hopeless(done, AMONG, 10, 0.45)
    assert not is_hopeless(done[:2], AMONG, 10, 0.7)


def test_the_best_is_one_that_ended() -> None:
    given_up = Trial(1e-3, "pruned", {10: 0.1})
    assert best([given_up, Trial(1e-2, "diverged")]) is None
    assert best([given_up, finished(2e-3, 0.3), finished(1e-4, 0.3), finished(1e-5, 0.4)]) == finished(1e-4, 0.3)


def test_a_trial_is_read_as_it_was_written() -> None:
    for trial in (finished(1e-3, 0.5), Trial(1e-3, "pruned", {4: 0.25}, None, 1.5), Trial(2.0, "diverged")):
        assert Trial.of(json.loads(json.dumps(trial.as_dict()))) == trial


@pytest.mark.parametrize(("whole", "steps"), [(7, 7), (40, 32), (400, 100), (10_000, 400)])
def test_a_trial_is_short(whole: int, steps: int) -> None:
    assert SearchSettings().steps(whole) == steps
