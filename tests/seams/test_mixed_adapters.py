"""Two LoRAs on one base, their sequences mixed in one batch."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest
import torch

from rung.compute.plan import plan_causal
from rung.methods.adapted import Adapted
from rung.methods.lora import Lora, LoraAdapted
from rung.types import Tokens

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
NAMES = ["a", None, "b", "a", None, "b", "b"]


def move(adapted: LoraAdapted, seed: int) -> LoraAdapted:
    """Weights far from their start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in adapted.own.values():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
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
