"""The loop on a tiny linear learner in fp64: what it computes, what it refuses, when it stops."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.engine.finite import NotFiniteError
from rung.engine.loop import Progress, Schedule, micro_seed, train
from rung.engine.optim import Optimizer, OptimizerConfig
from rung.engine.sources import DatasetSource
from rung.errors import TrainingError
from rung.types import Batch, Loss, Row, Term, Tokens


class Linear:
    """Squared error per token of a linear map, and a second term on every other row, weighted."""

    def __init__(self, poison: Mapping[str, float] | None = None) -> None:
        self.weight = torch.nn.Parameter(torch.linspace(-1, 1, 4, dtype=torch.float64))
        self.poison = poison or {}
        self.gradient: torch.Tensor | None = None
        self.draws: list[float] = []

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {"tokens": sum(len(one) for one in batch.sequences), "odd": sum(row.target % 2 for row in batch.rows)}

    def loss(self, batch: Batch) -> Loss:
        self.draws.append(float(torch.rand(())))
        rows, odd = [], []
        for row in batch.rows:
            ids = torch.tensor(row.sequences[0].input_ids)
            rows.append(((self.weight[ids] - 0.5) ** 2).sum() * self.poison.get(row.id, 1.0))
            odd.append((self.weight.sum() - row.target) ** 2 * (row.target % 2))
        losses = torch.stack(rows)
        terms = {
            "tokens": Term(losses.sum(), sum(len(one) for one in batch.sequences)),
            "odd": Term(torch.stack(odd).sum(), sum(row.target % 2 for row in batch.rows), 0.3),
        }
        return Loss(terms, losses.detach())


def rows(count: int) -> list[Row]:
    return [
        Row(f"row-{at}", (Tokens(tuple((at * 7 + step) % 4 for step in range(1 + at % 5))),), at) for at in range(count)
    ]


class Spy:
    """Notes each step; stops the run at one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.seen: list[tuple[int, float, float]] = []

    def after_step(self, progress: Progress) -> None:
        self.seen.append((progress.step, progress.loss, progress.grad_norm))
        progress.stop = progress.step == self.stop_at


def run(learner: Linear, source: DatasetSource, total: int = 1, spy: Spy | None = None) -> tuple[Progress, Spy]:
    spy = spy or Spy()
    optimizer = Optimizer({"weight": learner.weight}, OptimizerConfig(learning_rate=0.1))
    schedule = Schedule(0.1, total, 0, "constant", 0.0, 5)
    return train(learner, source, optimizer, schedule, Progress(), [spy]), spy


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 24), size=st.integers(1, 24), seed=st.integers(0, 5))
def test_a_step_is_the_same_however_it_is_cut_into_micro_batches(count: int, size: int, seed: int) -> None:
    whole, cut = Linear(), Linear()
    micro = -(-count // size)
    first, first_spy = run(whole, DatasetSource(rows(count), count, 1, seed, False))
    second, second_spy = run(cut, DatasetSource(rows(count), size, micro, seed, False))
    assert second.loss == pytest.approx(first.loss, rel=1e-12)
    assert second_spy.seen[0][2] == pytest.approx(first_spy.seen[0][2], rel=1e-12)
    assert torch.allclose(whole.weight, cut.weight, rtol=1e-12, atol=1e-12)
    assert first.tokens == second.tokens


def test_the_loss_is_each_terms_mean_by_its_weight() -> None:
    learner = Linear()
    batch = Batch(tuple(rows(6)))
    wanted = sum(
        term.weight * float(term.sum.detach()) / learner.counts(batch)[name]
        for name, term in learner.loss(batch).terms.items()
    )
    assert run(Linear(), DatasetSource(rows(6), 2, 3, 0, False))[0].loss == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_names_its_rows_and_takes_no_step(value: float) -> None:
    learner = Linear({"row-3": value, "row-7": value})
    before = learner.weight.detach().clone()
    spy = Spy()
    with pytest.raises(TrainingError) as caught:
        run(learner, DatasetSource(rows(12), 12, 1, 0, False), 3, spy)
    assert sorted(caught.value.what.removeprefix("the loss is not finite at step 1; rows: ").split(", ")) == [
        "row-3",
        "row-7",
    ]
    assert caught.value.todo == "No weight was changed by this step. Look at these rows, or lower learning_rate."
    assert torch.equal(learner.weight, before)
    assert spy.seen == []


def test_a_gradient_that_is_not_finite_takes_no_step() -> None:
    learner = Linear()
    learner.weight.register_hook(lambda gradient: gradient * float("nan"))
    before = learner.weight.detach().clone()
    with pytest.raises(TrainingError) as caught:
        run(learner, DatasetSource(rows(2), 1, 2, 0, False))
    assert caught.value.what.startswith("the gradient is not finite at step 1; rows: row-")
    assert torch.equal(learner.weight, before)


class Explosive(Linear):
    """Some rows have a finite loss and a gradient that is not: the root of zero, as a distance to itself has it."""

    def __init__(self, *explosive: str) -> None:
        super().__init__()
        self.explosive = explosive

    def loss(self, batch: Batch) -> Loss:
        loss = super().loss(batch)
        terms = dict(loss.terms)
        if any(row.id in self.explosive for row in batch.rows):
            terms["tokens"] = Term(terms["tokens"].sum + (self.weight * 0.0).sum().sqrt(), terms["tokens"].count)
        return Loss(terms, loss.per_row)


@pytest.mark.parametrize(("size", "accumulation"), [(13, 1), (4, 4), (1, 13)])
def test_the_rows_behind_a_gradient_that_is_not_finite_are_found(size: int, accumulation: int) -> None:
    learner = Explosive("row-2", "row-11")
    before = learner.weight.detach().clone()
    with pytest.raises(NotFiniteError) as caught:
        run(learner, DatasetSource(rows(13), size, accumulation, 0, False))
    assert sorted(caught.value.rows) == ["row-11", "row-2"]
    assert caught.value.what.startswith("the gradient is not finite at step 1; rows: row-")
    assert torch.equal(learner.weight, before)


def test_a_gradient_that_only_the_sum_makes_infinite_names_every_row() -> None:
    learner = Linear()
    calls = iter([1.0, float("inf")] + [1.0] * 9)
    learner.weight.register_hook(lambda gradient: gradient * next(calls))
    with pytest.raises(NotFiniteError) as caught:
        run(learner, DatasetSource(rows(2), 1, 2, 0, False))
    assert sorted(caught.value.rows) == ["row-0", "row-1"]


def test_a_hook_can_end_the_run() -> None:
    progress, spy = run(Linear(), DatasetSource(rows(10), 2, 1, 0, False), 50, Spy(stop_at=7))
    assert progress.step == 7
    assert [step for step, _, _ in spy.seen] == list(range(1, 8))


def test_training_learns() -> None:
    _, spy = run(Linear(), DatasetSource(rows(8), 8, 1, 0, False), 30)
    assert spy.seen[-1][1] < 0.3 * spy.seen[0][1]


def test_random_draws_depend_on_the_step_alone() -> None:
    through, resumed = Linear(), Linear()
    source = DatasetSource(rows(8), 2, 2, 1, False)
    run(through, source, 6)
    optimizer = Optimizer({"weight": resumed.weight}, OptimizerConfig(learning_rate=0.1))
    torch.rand(100)
    train(resumed, source, optimizer, Schedule(0.1, 6, 0, "constant", 0.0, 5), Progress(step=4), [])
    assert resumed.draws == through.draws[8:]
    assert len(set(through.draws)) == len(through.draws)
    assert len({micro_seed(seed, step, micro) for seed in range(9) for step in range(9) for micro in range(9)}) == 9**3


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 60),
    size=st.integers(1, 9),
    accumulation=st.integers(1, 5),
    seed=st.integers(0, 3),
    grouped=st.booleans(),
)
def test_each_row_comes_once_an_epoch(count: int, size: int, accumulation: int, seed: int, grouped: bool) -> None:
    source = DatasetSource(rows(count), size, accumulation, seed, grouped)
    again = DatasetSource(rows(count), size, accumulation, seed, grouped)
    per_epoch = source.steps_per_epoch
    for epoch in range(2):
        steps = [source.step(epoch * per_epoch + step) for step in range(per_epoch)]
        ids = [row.id for step in steps for batch in step for row in batch.rows]
        assert sorted(ids) == sorted(row.id for row in rows(count))
        assert all(1 <= len(step) <= accumulation and all(1 <= len(one.rows) <= size for one in step) for step in steps)
        for step in reversed(range(per_epoch)):  # asked in any order, a step is the same
            assert again.step(epoch * per_epoch + step) == steps[step]


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    source = DatasetSource(rows(40), 40, 1, 0, False)
    orders = [source.step(0), source.step(1), DatasetSource(rows(40), 40, 1, 1, False).step(0)]
    assert len({tuple(row.id for row in order[0].rows) for order in orders}) == 3
