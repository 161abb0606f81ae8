"""Gradient checkpointing gives the same bits: the plan and the random numbers of the first time are seen again."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from rung.compute.recompute import recompute_layers
from rung.methods.adapted import Adapted
from rung.methods.full import Full
from rung.methods.lora import Lora
from rung.types import Tokens

FAMILIES = ["llama", "gpt2", "bert"]
LENGTHS = (3, 7, 7, 12, 30)
METHODS = {"full": Full(), "lora": Lora(r=4), "lora-dropout": Lora(r=4, lora_dropout=0.3)}


def gradients(tiny: ModuleType, name: str, method: str, dropout: bool, recompute: bool) -> dict[str, torch.Tensor]:
    """Of a loss over rows that share a prefix, and how much the forward pass kept."""
    family = tiny.build(name, torch.float32)
    for part in family.module.modules():
        if dropout and isinstance(part, torch.nn.Dropout):
            part.p = 0.2
    adapted = METHODS[method].attach(family, None, 3)
    for value in adapted.trainable.values():
        with torch.no_grad():
            value.add_(0.01)  # LoRA's A has no gradient while B is zero
    if recompute:
        recompute_layers(family)
    adapted.training(dropout)
    torch.manual_seed(5)
    loss(adapted, tiny.sequences(LENGTHS, shared=9)).backward()
    return {key: value.grad for key, value in adapted.trainable.items() if value.grad is not None}


def loss(adapted: Adapted, rows: list[Tokens]) -> torch.Tensor:
    return adapted.states(rows, [range(len(row)) for row in rows]).sin().sum()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dropout", [False, True], ids=["exact", "dropout"])
def test_gradients_are_the_same_bits(tiny: ModuleType, name: str, method: str, dropout: bool) -> None:
    plain = gradients(tiny, name, method, dropout, recompute=False)
    again = gradients(tiny, name, method, dropout, recompute=True)
    assert plain
    assert set(plain) == set(again)
    assert all(torch.equal(plain[key], again[key]) for key in plain)


@pytest.mark.parametrize("name", FAMILIES)
def test_dropout_is_drawn(tiny: ModuleType, name: str) -> None:
    """Else the test above would prove nothing of random numbers."""
    exact, dropped = (gradients(tiny, name, "full", dropout, recompute=True) for dropout in (False, True))
    assert name == "llama" or any(not torch.equal(exact[key], dropped[key]) for key in exact)


@pytest.mark.parametrize("name", FAMILIES)
def test_layers_keep_their_input_alone(tiny: ModuleType, name: str) -> None:
    kept = []
    for recompute in (False, True):
        family = tiny.build(name)
        adapted = Lora(r=4).attach(family, None, 3)
        if recompute:
            recompute_layers(family)
        adapted.training(False)
        sizes: dict[int, int] = {}

        def pack(tensor: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            result = loss(adapted, tiny.sequences((200,) * 4, shared=9))
        assert result.requires_grad
        kept.append(sum(sizes.values()))
    assert kept[1] < kept[0] / 2


def test_rows_of_two_adapters_reach_their_own(tiny: ModuleType) -> None:
    """The adapter a row runs through is read from the plan, which has left its context by the backward pass."""
    found = []
    for recompute in (False, True):
        family = tiny.build("llama")
        adapted = Lora(r=4).attach(family, None, 3)
        named = Lora(r=4).wrap(family, None, 4, "other")
        values = [*adapted.trainable.values(), *named.trainable.values()]
        for value in values:
            with torch.no_grad():
                value.add_(0.01)
        if recompute:
            recompute_layers(family)
        adapted.training(False)
        named.training(False)
        first, second = tiny.sequences((8, 9), shared=9)
        loss(adapted, [first, Tokens(second.input_ids, adapter="other")]).backward()
        found.append([value.grad for value in values])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_without_gradients_nothing_is_wrapped(tiny: ModuleType) -> None:
    family = tiny.build("gpt2")
    rows = tiny.sequences(LENGTHS, shared=9)
    with torch.inference_mode():
        plain = loss(Adapted(family), rows)
        recompute_layers(family)
        assert torch.equal(loss(Adapted(family), rows), plain)
