"""Rows that the policy of the moment writes itself: the same loop, with a source that asks the model."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Literal

import torch

from rung.methods.adapted import Adapted
from rung.methods.lora import Lora
from rung.objectives.base import Objective, Trained
from rung.types import Batch, Example, Loss, Row, Term, Tokens

PROMPTS = [(10, 11, 12, 13, 14, number) for number in (20, 21, 22)]
ANSWER = 3
LIKED = frozenset(range(30, 45))


class PolicyGradient(Objective):
    """REINFORCE with a group mean as its baseline (Ahmadian et al. 2024, arXiv 2402.14740)."""

    type: Literal["policy_gradient"] = "policy_gradient"

    def check(self, model_kind: str, task: str) -> None: ...

    def encode(self, example: Example, tokenizer: Any, max_length: int) -> Row:
        raise AssertionError("these rows come from rollouts")

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {"policy": len(batch.sequences)}

    def loss(self, adapted: Trained, batch: Batch) -> Loss:
        logs = adapted.logprobs(batch.sequences).view(len(batch.sequences), ANSWER).sum(1)
        advantages = torch.tensor([value for row in batch.rows for value in row.target], dtype=logs.dtype)
        losses = -advantages * logs
        sums = torch.stack([part.sum() for part in losses.detach().split([len(row.sequences) for row in batch.rows])])
        return Loss({"policy": Term(losses.sum(), len(losses))}, sums)


class Rollouts:
    """Per prompt a group of sampled answers and their advantages; a pure function of the step and the weights."""

    def __init__(self, adapted: Adapted, group: int, events: list[str] | None = None) -> None:
        self.adapted = adapted
        self.group = group
        self.events = [] if events is None else events
        self.rewards: list[float] = []

    @property
    def steps_per_epoch(self) -> int:
        return 1

    def step(self, number: int) -> list[Batch]:
        self.events.append("rollout")
        self.adapted.evaluating()
        generator = torch.Generator().manual_seed(number)
        batches = [Batch((self._row(str(at), prompt, generator),)) for at, prompt in enumerate(PROMPTS)]
        sampled = [one.input_ids[-ANSWER:] for batch in batches for one in batch.sequences]
        self.rewards.append(sum(reward(answer) for answer in sampled) / len(sampled))
        return batches

    def _row(self, id: str, prompt: tuple[int, ...], generator: torch.Generator) -> Row:
        answers: list[tuple[int, ...]] = [()] * self.group
        with torch.no_grad():
            for _ in range(ANSWER):
                so_far = [Tokens(prompt + answer) for answer in answers]
                hidden = self.adapted.states(so_far, [[len(one) - 1] for one in so_far])
                logits = self.adapted.family.module.lm_head(hidden)
                drawn = torch.multinomial(logits.softmax(1), 1, generator=generator).flatten().tolist()
                answers = [(*answer, token) for answer, token in zip(answers, drawn, strict=True)]
        rewards = [reward(answer) for answer in answers]
        mean = sum(rewards) / len(rewards)
        sequences = tuple(Tokens(prompt + one, (-100,) * len(prompt) + one) for one in answers)
        return Row(id, sequences, tuple(value - mean for value in rewards))


def reward(answer: tuple[int, ...]) -> float:
    return sum(token in LIKED for token in answer) / len(answer)


class Noted(PolicyGradient):
    """Notes when it is asked for what."""

    type: Literal["noted"] = "noted"  # type: ignore[assignment]

    def counts(self, batch: Batch) -> Mapping[str, int]:
        asked_for.append("counts")
        return super().counts(batch)

    def loss(self, adapted: Trained, batch: Batch) -> Loss:
        asked_for.append("loss")
        return super().loss(adapted, batch)


asked_for: list[str] = []


def adapt(tiny: ModuleType) -> Adapted:
    return Lora(r=4).attach(tiny.build("llama"), None, seed=1)


def test_the_policy_earns_more_as_it_learns_from_its_own_rows(tiny: ModuleType, fit: Any) -> None:
    adapted = adapt(tiny)
    source = Rollouts(adapted, group=16)
    untrained = source.step(0)
    assert source.step(0) == untrained, "the same weights write the same rows"
    source.rewards.clear()
    fit(adapted, PolicyGradient(), source, 25, 1e-2)
    assert sum(source.rewards[-5:]) > 1.5 * sum(source.rewards[:5])
    assert source.step(0) != untrained, "other weights write other rows"


def test_counts_are_known_before_the_first_forward_pass_of_a_step(tiny: ModuleType, fit: Any) -> None:
    adapted = adapt(tiny)
    asked_for.clear()
    fit(adapted, Noted(), Rollouts(adapted, 4, asked_for), 2, 1e-3)
    step = ["rollout", *["counts"] * len(PROMPTS), *["loss"] * len(PROMPTS)]
    assert asked_for == [*step, *step]


def test_the_gradient_is_that_of_the_plain_model(tiny: ModuleType) -> None:
    adapted = adapt(tiny)
    batches = Rollouts(adapted, group=6).step(0)
    found = sum(PolicyGradient().loss(adapted, batch).terms["policy"].sum for batch in batches)
    mine = torch.autograd.grad(found, list(adapted.own.values()))
    adapted.family.module.set_attn_implementation("sdpa")
    expected = torch.zeros((), dtype=torch.float64)
    for batch in batches:
        for sequence, advantage in zip(batch.sequences, batch.rows[0].target, strict=True):
            ids = torch.tensor([sequence.input_ids])
            logs = adapted.family.module(input_ids=ids).logits[0].log_softmax(1)
            picked = logs[-ANSWER - 1 : -1].gather(1, ids[0, -ANSWER:].unsqueeze(1))
            expected = expected - advantage * picked.sum()
    theirs = torch.autograd.grad(expected, list(adapted.own.values()))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)  # LoRA's own gradients are fp32
