"""Two LoRAs on one base, their sequences mixed in one batch."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from rung.compute.plan import plan_causal
from rung.compute.scoring import Question, after, arrange, plain_scores, scores
from rung.methods.adapted import Adapted
from rung.methods.lora import Lora, LoraAdapted
from rung.models.families import Family
from rung.run.start import open_model
from rung.types import Tokens

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
NAMES = ["a", None, "b", "a", None, "b", "b"]


def move(adapted: LoraAdapted, seed: int, spread: float = 0.2) -> LoraAdapted:
    """Weights far from their start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in adapted.own.values():
            value.copy_(torch.randn(value.shape, generator=generator) * spread)
    return adapted


def both(tiny: ModuleType, name: str) -> tuple[LoraAdapted, LoraAdapted]:
    family = tiny.build(name)
    family.module.requires_grad_(False)
    return move(Lora(r=2).wrap(family, None, 1, "a"), 1), move(Lora(r=5).wrap(family, None, 2, "b"), 2)


def alone(tiny: ModuleType, name: str, adapter: str | None) -> Adapted:
    """A model with one adapter, or none, as a run of its own would have it."""
    family = tiny.build(name)
    if adapter is None:
        return Adapted(family)
    return move(Lora(r={"a": 2, "b": 5}[adapter]).attach(family, None, 0), {"a": 1, "b": 2}[adapter])


def everywhere(rows: list[Tokens]) -> list[range]:
    return [range(len(row)) for row in rows]


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
def test_each_sequence_runs_through_its_own_adapter(tiny: ModuleType, name: str) -> None:
    rows = tiny.sequences((3, 7, 7, 1, 12, 5, 9), shared=9)
    mixed = [replace(row, adapter=adapter) for row, adapter in zip(rows, NAMES, strict=True)]
    first, _ = both(tiny, name)
    found = first.states(mixed, everywhere(mixed)).split([len(row) for row in rows])
    for adapter in ("a", "b", None):
        own = [at for at, other in enumerate(NAMES) if other == adapter]
        expected = alone(tiny, name, adapter).states([rows[at] for at in own], everywhere([rows[at] for at in own]))
        torch.testing.assert_close(torch.cat([found[at] for at in own]), expected, **CLOSE)


def test_equal_beginnings_are_shared_within_an_adapter_only(tiny: ModuleType) -> None:
    trunk = tuple(range(10, 40))
    rows = [(*trunk, number) for number in range(4)]
    assert len(plan_causal(rows, ["a", "a", "b", "b"]).tokens) == 2 * (30 + 2)
    assert len(plan_causal(rows, ["a", "a", "a", "a"]).tokens) == 30 + 4


def test_gradient_reaches_the_adapter_that_was_used_and_no_other(tiny: ModuleType) -> None:
    first, second = both(tiny, "llama")
    rows = [replace(row, adapter=name) for row, name in zip(tiny.sequences((3, 4), shared=6), ("a", "b"), strict=True)]
    first.states(rows, [range(len(rows[0])), []]).pow(2).sum().backward()
    assert all(value.grad is not None and bool(value.grad.any()) for value in first.own.values())
    assert not any(value.grad is not None and bool(value.grad.any()) for value in second.own.values())


def test_disabled_turns_a_named_adapter_off(tiny: ModuleType) -> None:
    first, _ = both(tiny, "llama")
    rows = [replace(row, adapter=name) for row, name in zip(tiny.sequences((3, 4), shared=6), ("a", "b"), strict=True)]
    on = first.states(rows, everywhere(rows))
    with first.disabled():
        off = first.states(rows, everywhere(rows))
    split = len(rows[0])
    base = alone(tiny, "llama", None).states([replace(rows[0], adapter=None)], [range(split)])
    torch.testing.assert_close(off[:split], base, **CLOSE)
    assert torch.equal(off[split:], on[split:])


def test_the_padded_path_refuses_names_rather_than_forget_them(tiny: ModuleType) -> None:
    family = tiny.build("gemma2")
    rows = [replace(row, adapter="a") for row in tiny.sequences((3,), shared=2)]
    with pytest.raises(AssertionError, match="adapters are mixed on the flat layout only"):
        Adapted(family).states(rows, everywhere(rows))


def asked(family: Family, count: int, names: tuple[str, ...]) -> list[Question]:
    """Questions that begin alike, whichever adapter they are for; some are the same but for the adapter."""
    chance = random.Random(3)
    ids = range(1, family.embedding.num_embeddings)
    opening = tuple(chance.choices(ids, k=24))
    answers = tuple(tuple(chance.choices(ids, k=length)) for length in (1, 2, 2))
    own = [tuple(chance.choices(ids, k=chance.randint(2, 12))) for _ in range(count)]
    return [Question(opening + own[at // 2], answers, names[at % len(names)]) for at in range(count)]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@torch.no_grad()
def test_answers_are_scored_as_under_each_adapter_alone(tiny: ModuleType, name: str) -> None:
    first, _ = both(tiny, name)
    questions = asked(first.family, 30, ("a", "b", ""))
    found = scores(first.family, questions)
    for adapter in ("a", "b", ""):
        own = [at for at, question in enumerate(questions) if question.adapter == adapter]
        one = alone(tiny, name, adapter or None)
        wanted = plain_scores(one.family, [replace(questions[at], adapter="") for at in own])
        np.testing.assert_allclose([found[at] for at in own], wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(plain_scores(first.family, questions), found, rtol=1e-6, atol=1e-6)
    assert [list(one) for one in scores(first.family, questions[::-1])] == [list(one) for one in found[::-1]]


@torch.no_grad()
def test_no_beginning_stands_before_questions_of_different_adapters(
    tiny: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rung.compute.scoring.TOKEN_BUDGET", 60)
    first, _ = both(tiny, "llama")
    questions = asked(first.family, 30, ("a", "b", ""))
    batches, beginning = arrange(first.family, questions)
    assert len(batches) > 2 and not beginning
    alike = [question for question in questions if question.adapter == "a"]
    batches, beginning = arrange(first.family, alike)
    assert len(batches) > 1 and beginning == alike[0].prompt[:24]
    wanted = plain_scores(alone(tiny, "llama", "a").family, [replace(one, adapter="") for one in alike])
    np.testing.assert_allclose(scores(first.family, alike), wanted, rtol=1e-6, atol=1e-6)
    under = {name: after(first.family, beginning, adapter=name).prefixes[1][0] for name in ("a", "b", "")}
    assert not torch.allclose(under["a"], under["b"]) and not torch.allclose(under["a"], under[""])


@pytest.mark.parametrize("options", [{"use_dora": True}, {"init_lora_weights": "pissa"}, {"use_rslora": True}])
def test_every_kind_of_lora_can_be_mixed(tiny: ModuleType, options: dict[str, object]) -> None:
    settings = Lora.model_validate({"r": 3, **options})
    family, single = tiny.build("llama"), tiny.build("llama")
    family.module.requires_grad_(False)
    mixed = move(settings.wrap(family, None, 1, "a"), 1)
    move(Lora(r=5).wrap(family, None, 2, "b"), 2)
    expected = move(settings.attach(single, None, 1), 1)
    rows = tiny.sequences((3, 7, 5, 4), shared=9)
    named = [replace(row, adapter=name) for row, name in zip(rows, ("a", "b", "a", None), strict=True)]
    found = mixed.states(named, everywhere(named)).split([len(row) for row in rows])
    for at in (0, 2):
        torch.testing.assert_close(found[at], expected.states([rows[at]], everywhere([rows[at]])), **CLOSE)


@pytest.mark.parametrize("model", ["smollm2_path", "minilm_path"])
def test_a_real_model_gives_each_row_what_its_own_adapter_gives(model: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(model)
    family = open_model(str(path), {"dtype": "float32", "device": "cpu"}).family
    bare = open_model(str(path), {"dtype": "float32", "device": "cpu"}).family
    family.module.requires_grad_(False)
    targets = ("query", "dense") if family.kind == "encoder" else ("q_proj", "down_proj")
    settings = {"a": Lora(r=4), "b": Lora(r=8, target_modules=targets)}
    for seed, (name, one) in enumerate(settings.items()):
        move(one.wrap(family, None, seed, name), seed, 0.02)
    chance = random.Random(5)
    opening = tuple(chance.choices(range(1000, 20000), k=20))
    rows = [Tokens(opening + tuple(chance.choices(range(1000, 20000), k=4 + at))) for at in range(6)]
    names = ["a", "b", None, "b", "a", "a"]
    named = [replace(row, adapter=name) for row, name in zip(rows, names, strict=True)]
    ends = [[len(row) - 1] for row in rows]
    with torch.no_grad():
        found = Adapted(family).states(named, ends)
        untouched = Adapted(bare).states(rows, ends)
        for seed, (name, one) in enumerate(settings.items()):
            fresh = open_model(str(path), {"dtype": "float32", "device": "cpu"}).family
            own = move(one.attach(fresh, None, seed), seed, 0.02)
            at = [number for number, other in enumerate(names) if other == name]
            expected = own.states([rows[number] for number in at], [ends[number] for number in at])
            torch.testing.assert_close(found[at], expected, rtol=2e-4, atol=2e-4)
            assert float((found[at] - untouched[at]).abs().max()) > 0.01
    torch.testing.assert_close(found[2], untouched[2], rtol=2e-4, atol=2e-4)
