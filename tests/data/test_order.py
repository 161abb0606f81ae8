from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rung.data.order import batches, permutation

SEEDS = st.integers(0, 2**63)
PINNED = [7, 3, 6, 0, 2, 1, 5, 4]


@given(SEEDS, st.integers(0, 1000), st.integers(0, 300))
def test_permutation_holds_each_index_once_and_is_pure(seed: int, epoch: int, size: int):
    order = permutation(seed, epoch, size)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(size))
    assert order.tolist() == permutation(seed, epoch, size).tolist()


def test_permutation_is_the_same_everywhere():
    assert permutation(7, 0, 8).tolist() == PINNED
    assert permutation(7, 1, 8).tolist() != PINNED
    assert permutation(8, 0, 8).tolist() != PINNED


@given(st.lists(st.integers(0, 50), max_size=400), st.integers(1, 7), SEEDS, st.booleans())
def test_batches_hold_each_index_once(lengths: list[int], size: int, seed: int, group: bool):
    found = batches(lengths, size, seed, epoch=0, group_by_length=group)
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    assert all(len(batch) <= size for batch in found)
    assert sum(len(batch) < size for batch in found) <= 1
    assert found == batches(lengths, size, seed, epoch=0, group_by_length=group)


def test_grouped_batches_waste_less_padding():
    lengths = permutation(0, 0, 1000).tolist()

    def waste(group: bool) -> int:
        found = batches(lengths, 8, seed=1, epoch=0, group_by_length=group)
        return sum(max(lengths[i] for i in batch) * len(batch) - sum(lengths[i] for i in batch) for batch in found)

    assert waste(group=True) * 10 < waste(group=False)


def test_every_epoch_has_its_own_order():
    lengths = [5] * 100
    orders = {tuple(batches(lengths, 4, 1, epoch, group_by_length=True)) for epoch in range(10)}
    assert len(orders) == 10
