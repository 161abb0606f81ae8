"""A word table stepped at the rows that were read is the table stepped whole, to the bit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from rung.engine.optim import Optimizer, OptimizerConfig
from rung.engine.wordtable import WordTable

WORDS, WIDTH = 1000, 48
BITS = torch.int32


class Whole(Optimizer):
    """Steps every row, as AdamW itself does."""

    def _few_rows(self) -> dict[str, Tensor]:
        return {}


def begun(kind: type[Optimizer], **config: float) -> tuple[Optimizer, Parameter]:
    table = Parameter(torch.randn(WORDS, WIDTH, generator=torch.Generator().manual_seed(0)).bfloat16())
    return kind({"table": table}, OptimizerConfig(learning_rate=0.01, **config)), table


def read(table: Parameter, words: Sequence[int], seed: int, sparse: bool = True) -> None:
    weights = torch.randn(len(words), WIDTH, generator=torch.Generator().manual_seed(seed))
    weights[0] = 0
    picked = torch.nn.functional.embedding(torch.tensor(words), table, sparse=sparse)
    (picked.float() * weights).sum().backward()


def step(optimizer: Optimizer, table: Parameter, number: int, sparse: bool = True) -> None:
    """Two micro-batches of a few words, other ones in each step; some come again, the first has a gradient of zero."""
    chance = torch.Generator().manual_seed(number)
    read(table, torch.randint(0, 150, (9,), generator=chance).tolist(), number, sparse)
    read(table, torch.randint(0, WORDS, (3,), generator=chance).tolist(), number + 100, sparse)
    optimizer.clip(0.5)
    optimizer.step(0.01 / (number + 1))
    optimizer.zero_grad()


def same(one: Optimizer, other: Optimizer, tables: Sequence[Parameter]) -> None:
    for mine, theirs in ((one.master(), other.master()), (one.state(), other.state())):
        assert mine.keys() == theirs.keys()
        for name in mine:
            # as integers: -0.0 is not 0.0 there
            assert torch.equal(mine[name].view(BITS), theirs[name].view(BITS)), name
    assert torch.equal(tables[0].detach().view(torch.int16), tables[1].detach().view(torch.int16))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_rows_read_stepped_alone_are_the_whole_table_stepped(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    plain = WordTable.step
    monkeypatch.setattr(
        WordTable, "step", lambda self, rows, state: taken.append(len(rows)) or plain(self, rows, state)
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        (ours, mine), (whole, theirs) = begun(Optimizer), begun(Whole)
        for number in range(30):
            step(ours, mine, number)
            step(whole, theirs, number)
            same(ours, whole, (mine, theirs))
    finally:
        torch.set_num_threads(before)
    assert len(taken) == 30
    assert 9 <= taken[0] <= 12 < taken[-1] < WORDS / 3
    # What no step has read has not moved; what has been read has, but for words whose gradients were all zero.
    still = (ours.master()["table"] == begun(Optimizer)[0].master()["table"]).all(1).sum()
    assert WORDS - taken[-1] <= still < WORDS - taken[0]


def test_a_checkpoint_tells_which_rows_were_read() -> None:
    (ours, mine), (whole, theirs) = begun(Optimizer), begun(Whole)
    for number in range(4):
        step(ours, mine, number)
        step(whole, theirs, number)
    again, copy = begun(Optimizer)
    again.load_master({name: value.clone() for name, value in ours.master().items()})
    again.load_state({name: value.clone() for name, value in ours.state().items()})
    for number in range(4, 9):
        step(again, copy, number)
        step(whole, theirs, number)
    same(again, whole, (copy, theirs))


def test_many_rows_and_gradients_of_all_rows_are_stepped_whole() -> None:
    (ours, mine), (whole, theirs) = begun(Optimizer), begun(Whole)
    for number, sparse in enumerate((True, True, False, True)):
        step(ours, mine, number, sparse)
        step(whole, theirs, number, sparse)
        same(ours, whole, (mine, theirs))
    (ours, mine), (whole, theirs) = begun(Optimizer), begun(Whole)
    for number, words in enumerate(([1, 2], list(range(0, WORDS, 2)), [3])):
        for optimizer, table in ((ours, mine), (whole, theirs)):
            read(table, words, number)
            optimizer.step(0.01)
            optimizer.zero_grad()
        same(ours, whole, (mine, theirs))


def test_decay_moves_every_row() -> None:
    ours, mine = begun(Optimizer, weight_decay=0.1)
    start = ours.master()["table"].clone()
    step(ours, mine, 0)
    assert (ours.master()["table"] != start).any(1).all()
