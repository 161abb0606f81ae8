"""One optimizer step gives the same loss and gradients, however its rows are cut, ordered, packed and shared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.compute.output import OutputLayer
from rung.compute.states import Additions
from rung.engine.loop import Progress, Schedule, train
from rung.engine.optim import Optimizer, OptimizerConfig
from rung.engine.sources import BatchSource, DatasetSource
from rung.methods.adapted import Adapted
from rung.methods.full import Full
from rung.methods.lora import Lora
from rung.objectives.base import Objective
from rung.objectives.causal_lm import CausalLM
from rung.objectives.classification import Classification
from rung.run.train import Learning
from rung.types import IGNORED, Batch, HeadSpec, Row, Tokens

BOUND = 1e-6


class Captured(Optimizer):
    """Keeps the gradients of a step and moves nothing."""

    def __init__(self, adapted: Adapted) -> None:
        super().__init__(adapted.trainable, OptimizerConfig())
        self.seen: dict[str, torch.Tensor] = {}

    def step(self, lr: float) -> None:
        self.seen = {name: value.clone() for name, value in self.gradients().items()}


class Cut:
    """One step of given micro-batches."""

    steps_per_epoch = 1

    def __init__(self, micro: Sequence[Sequence[Row]]) -> None:
        self.micro = [Batch(tuple(rows)) for rows in micro]

    def step(self, number: int) -> list[Batch]:
        return self.micro


class Apart(Adapted):
    """Below a method, it keeps every row to itself."""

    @property
    def additions(self) -> Additions:
        return Additions(share=False)


Step = tuple[float, dict[str, torch.Tensor]]


def step(adapted: Adapted, objective: Objective, source: BatchSource, share: bool = True) -> Step:
    """Loss and gradients of one step of the product's loop."""
    adapted.below = None if share else Apart(adapted.family)
    optimizer, progress = Captured(adapted), Progress()
    schedule = Schedule(1e-3, 1, 0, "constant", 0.0, 7)
    train(Learning(adapted, objective, False), source, optimizer, schedule, progress, [])
    return progress.loss, optimizer.seen


def require_same(found: Step, expected: Step) -> None:
    """Relative to the loss, and to the norm of all gradients together."""
    assert abs(found[0] - expected[0]) <= BOUND * abs(expected[0])
    assert set(found[1]) == set(expected[1])
    norm = torch.stack([value.norm() for value in expected[1].values()]).norm()
    error = torch.stack([(found[1][name] - value).norm() for name, value in expected[1].items()]).norm()
    assert norm > 0
    assert error <= BOUND * norm


@cache
def made(tiny: ModuleType, plain: ModuleType, name: str, method: str) -> Adapted:
    """A method in fp64, away from its start; built once, as nothing here moves its weights."""
    family = tiny.build(name)
    head = OutputLayer(HeadSpec("sequence", 3, ("a", "b", "c"), "mean"), 32, 0) if family.kind == "encoder" else None
    adapted = (Lora(r=3) if method == "lora" else Full()).attach(family, head, 0)
    for part in (family.module, head):
        if part is not None:
            part.double()
    if method == "lora":
        plain.randomise(adapted.own, 0.2)
    return adapted


def objective_of(adapted: Adapted) -> Objective:
    return CausalLM() if adapted.head is None else Classification()


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Rows over few tokens and few beginnings, with duplicates, under any mask that supervises something."""
    beginnings = [(9, 8, 7), (9, 8, 7, 6, 5, 4, 3), tuple(range(10, 50)) * 5, ()]
    one = st.tuples(
        st.sampled_from(beginnings), st.lists(st.integers(3, 5), min_size=2, max_size=14), st.integers(0, 2**14)
    )
    found = []
    for at, (beginning, own, bits) in enumerate(draw(st.lists(one, min_size=1, max_size=7))):
        ids = beginning + tuple(own)
        mask = [bool(bits >> (place % 14) & 1) for place in range(len(ids))]
        mask[-1] |= not any(mask[1:])
        labels = tuple(token if kept else IGNORED for token, kept in zip(ids, mask, strict=True))
        found.append(Row(str(at), (Tokens(ids, labels),), at % 3))
    if draw(st.booleans()):
        found.append(Row("again", found[0].sequences, found[0].target))
    return found


@st.composite
def cuts(draw: st.DrawFn) -> tuple[list[Row], list[list[Row]]]:
    """The rows, and the same in another order as micro-batches of any sizes."""
    given_rows = draw(rows())
    order = draw(st.permutations(given_rows))
    ends = sorted({*draw(st.lists(st.integers(1, len(order)), max_size=4)), len(order)})
    return given_rows, [order[start:end] for start, end in pairwise([0, *ends])]


@pytest.mark.parametrize(("name", "method"), [("llama", "full"), ("gpt2", "lora"), ("qwen3", "lora"), ("bert", "full")])
@given(cuts(), st.booleans())
@settings(deadline=None, max_examples=25, derandomize=True, database=None)
def test_any_cut_of_a_step_is_the_same_step(
    tiny: ModuleType, plain: ModuleType, name: str, method: str, cut: tuple[list[Row], list[list[Row]]], share: bool
) -> None:
    adapted = made(tiny, plain, name, method)
    objective = objective_of(adapted)
    alone = step(adapted, objective, Cut([[row] for row in cut[0]]), share=False)
    require_same(step(adapted, objective, Cut(cut[1]), share), alone)


@pytest.mark.parametrize(("name", "method"), [("llama", "lora"), ("bert", "lora")])
@given(rows(), st.tuples(st.integers(1, 8), st.integers(0, 3), st.booleans()))
@settings(deadline=None, max_examples=15, derandomize=True, database=None)
def test_micro_batch_size_times_accumulation_is_the_same_step(
    tiny: ModuleType, plain: ModuleType, name: str, method: str, given_rows: list[Row], drawn: tuple[int, int, bool]
) -> None:
    size, seed, grouped = drawn
    adapted = made(tiny, plain, name, method)
    objective = objective_of(adapted)
    whole = step(adapted, objective, DatasetSource(given_rows, len(given_rows), 1, seed, False))
    source = DatasetSource(given_rows, size, -(-len(given_rows) // size), seed + 1, grouped)
    assert source.steps_per_epoch == 1
    require_same(step(adapted, objective, source), whole)
