"""Preference tuning on top of an earlier run: two sequences a row, and the start of this run as the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from types import ModuleType
from typing import Any, Literal

import torch
from torch.nn.functional import logsigmoid

from rung.engine.sources import DatasetSource
from rung.methods.adapted import Adapted
from rung.methods.lora import Lora, LoraAdapted
from rung.objectives.base import Objective, Trained
from rung.types import Batch, Example, Loss, Row, Term, Tokens


class Dpo(Objective):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290)."""

    type: Literal["dpo"] = "dpo"
    beta: float = 0.1

    def check(self, model_kind: str, task: str) -> None: ...

    def encode(self, example: Example, tokenizer: Any, max_length: int) -> Row:
        raise AssertionError("these rows come encoded")

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {"dpo": len(batch.rows)}

    def loss(self, adapted: Trained, batch: Batch) -> Loss:
        policy = answer_sums(adapted, batch)
        with torch.no_grad(), adapted.disabled():
            reference = answer_sums(adapted, batch)
        gap = (policy - reference)[:, 0] - (policy - reference)[:, 1]
        losses = -logsigmoid(self.beta * gap)
        return Loss({"dpo": Term(losses.sum(), len(losses))}, losses.detach())


def answer_sums(adapted: Trained, batch: Batch) -> torch.Tensor:
    """`[rows, 2]` log-probabilities of the chosen and the rejected answer."""
    sizes = [sum(label != -100 for label in sequence.labels or ()) for sequence in batch.sequences]
    return torch.stack([part.sum() for part in adapted.logprobs(batch.sequences).split(sizes)]).view(-1, 2)


def pair(number: int, prompt: tuple[int, ...], chosen: tuple[int, ...], rejected: tuple[int, ...]) -> Row:
    answers = [Tokens(prompt + one, (-100,) * len(prompt) + one) for one in (chosen, rejected)]
    return Row(str(number), tuple(answers))


SHARED = tuple(range(10, 20))
ROWS = [pair(n, (*SHARED, 20 + n), (30 + n, 31, 2), (45, 46 + n, 47, 2)) for n in range(6)]


def earlier(tiny: ModuleType) -> LoraAdapted:
    """A model with the LoRA of an earlier run, whose weights are not at their start."""
    below = Lora(r=3, lora_dropout=0.5).attach(tiny.build("llama"), None, seed=1)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in below.own.values():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
    below.evaluating()
    return below


def seen(adapted: Adapted, mode: AbstractContextManager[None] | None = None) -> torch.Tensor:
    with torch.no_grad(), mode or nullcontext():
        return adapted.logprobs([sequence for row in ROWS for sequence in row.sequences])


def test_dpo_starts_at_log_two_and_trains_the_upper_adapter_alone(tiny: ModuleType, fit: Any) -> None:
    root = seen(Adapted(tiny.build("llama")))
    below = earlier(tiny)
    start = seen(below)
    adapted = Lora(r=4).chain(below, None, seed=2)
    before = {name: value.clone() for name, value in adapted.family.module.state_dict().items()}

    first = Dpo().loss(adapted, Batch(tuple(ROWS)))
    assert first.per_row.tolist() == [math.log(2)] * len(ROWS), "the policy is its reference until it is trained"
    first.terms["dpo"].sum.backward()
    trained = {name for name, value in adapted.family.module.named_parameters() if value.grad is not None}
    assert trained == {name.removesuffix(".weight") for name in adapted.own}
    adapted.family.module.zero_grad(set_to_none=True)

    losses = fit(adapted, Dpo(), DatasetSource(ROWS, 3, 2, 7, False), 6, 1e-2)
    assert losses[0] == math.log(2)
    assert losses[-1] < 0.6
    assert all(after < now for now, after in pairwise(losses))
    assert not torch.equal(seen(adapted), start)
    assert torch.equal(seen(adapted, adapted.disabled()), start)
    assert torch.equal(seen(adapted, adapted.root()), root)
    moved = {name for name, value in adapted.family.module.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == trained
    with adapted.disabled():
        assert torch.equal(seen(adapted, adapted.root()), root)
        assert torch.equal(seen(adapted), start), "leaving root() leaves disabled() as it was"
