"""Whatever the sequences: every token has its place, and sees what it would see alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rung.compute.plan import Plan, plan_bidirectional, plan_causal

tails = st.lists(st.integers(0, 2), min_size=0, max_size=12)


@st.composite
def tries(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """Sequences over few tokens, so that beginnings repeat; some share a trunk longer than a block may be."""
    trunks = [tuple(range(3, 3 + draw(st.sampled_from([0, 2, 5, 40, 230])))) for _ in range(2)]
    rows = draw(st.lists(st.tuples(st.integers(0, 1), tails), min_size=1, max_size=9))
    return [(*trunks[which], *tail) or (0,) for which, tail in rows]


def visible(plan: Plan) -> NDArray[np.bool_]:
    """`[N, N]`: which flat token attends to which, read off the groups."""
    seen = np.zeros((len(plan.tokens), len(plan.tokens)), dtype=np.bool_)
    for group in plan.groups:
        start = group.start
        for length, tree in zip(group.lengths, group.trees, strict=True):
            inside = np.tri(length, dtype=np.bool_) if plan.causal else np.ones((length, length), dtype=np.bool_)
            rows = slice(start, start + length)
            seen[rows, rows] = inside if tree is None else tree
            for begin, end in group.context:
                seen[rows, begin:end] = True
            start += length
    return seen


def check(plan: Plan, sequences: list[tuple[int, ...]]) -> None:
    """Ids, positions and sight of every token of every row; every flat token belongs to a row and to one group."""
    seen = visible(plan)
    assert len(plan.index) == len(sequences)
    for row, index in zip(sequences, plan.index, strict=True):
        assert plan.tokens[index].tolist() == list(row)
        assert plan.positions[index].tolist() == list(range(len(row)))
        for at in range(len(row)):
            expected = index[: at + 1] if plan.causal else index
            assert np.flatnonzero(seen[index[at]]).tolist() == sorted(expected.tolist())
    assert np.unique(np.concatenate(plan.index)).tolist() == list(range(len(plan.tokens)))
    covered = [at for group in plan.groups for at in range(group.start, group.end)]
    assert covered == list(range(len(plan.tokens)))


@given(tries())
@settings(deadline=None, max_examples=150)
def test_a_shared_layout_places_every_token_and_shows_it_its_own_row(sequences: list[tuple[int, ...]]) -> None:
    check(plan_causal(sequences), sequences)


@given(tries())
@settings(deadline=None, max_examples=50)
def test_a_layout_without_sharing_computes_every_token_of_every_row(sequences: list[tuple[int, ...]]) -> None:
    plan = plan_causal(sequences, share=False)
    check(plan, sequences)
    assert len(plan.tokens) == sum(map(len, sequences))


@given(tries())
@settings(deadline=None, max_examples=50)
def test_a_bidirectional_layout_keeps_rows_apart(sequences: list[tuple[int, ...]]) -> None:
    plan = plan_bidirectional(sequences)
    check(plan, sequences)


@given(tries(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_adapters_share_nothing_and_their_ranges_cover_the_layout(sequences, random) -> None:
    names = [random.choice([None, "a", "b"]) for _ in sequences]
    plan = plan_causal(sequences, names)
    check(plan, sequences)
    owner = np.full(len(plan.tokens), "?", dtype=object)
    for name, start, end in plan.adapters:
        owner[start:end] = name
    for name, index in zip(names, plan.index, strict=True):
        assert all(found == name for found in owner[index])


def test_equal_beginnings_are_computed_once() -> None:
    trunk = tuple(range(300))
    plan = plan_causal([(*trunk, 1, number) for number in range(50)])
    assert len(plan.tokens) == 301 + 50
    assert len(plan_causal([trunk] * 50).tokens) == 300
