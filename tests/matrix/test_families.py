"""Every weight method on every family: it attaches, starts as it must, switches off, and comes back from its file."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
import torch
from docs.tiny import FAMILIES
from pydantic import TypeAdapter

from rung.errors import IncompatibleError
from rung.methods.adapted import Adapted
from rung.methods.base import WeightMethod
from rung.methods.union import AnyMethod
from rung.models.families import Family
from rung.types import Tokens

SETTINGS: dict[str, dict[str, Any]] = {
    "soft_prompt": {"type": "soft_prompt", "num_virtual_tokens": 3},
    "prefix": {"type": "prefix", "num_virtual_tokens": 3},
    "lora": {"type": "lora", "r": 2},
    "dora": {"type": "lora", "r": 2, "use_dora": True},
    "houlsby": {"type": "adapter", "style": "houlsby", "reduction_factor": 8},
    "pfeiffer": {"type": "adapter", "reduction_factor": 8},
    "parallel": {"type": "adapter", "style": "parallel", "reduction_factor": 8},
    "ia3": {"type": "ia3"},
    "bitfit": {"type": "bitfit"},
    "top_layers": {"type": "top_layers", "num_layers": 1},
    "full": {"type": "full"},
}
REFUSED = {
    **dict.fromkeys(
        [("bitfit", name) for name in ("llama", "qwen3", "mistral", "gemma", "gemma2", "modernbert", "t5")],
        "method=bitfit trains biases, and the blocks of",
    ),
    **dict.fromkeys(
        [("prefix", name) for name in ("gemma2", "deberta_v2", "mpnet")],
        "method=prefix gives every layer keys and values, and the attention of",
    ),
}
MOVING = {"soft_prompt", "prefix"}
CELLS = [(method, name) for method in SETTINGS for name in FAMILIES]


def method_of(name: str) -> WeightMethod:
    return TypeAdapter(AnyMethod).validate_python(SETTINGS[name])  # pyright: ignore[reportReturnType]


def rows(family: Family) -> list[Tokens]:
    made = [(5, 9, 17, 33, 6), (5, 9, 41), (11, 8)]
    if family.kind == "encoder_decoder":
        return [Tokens(ids, source_ids=(*ids, 7, 12)) for ids in made]
    return [Tokens(ids) for ids in made]


def states(adapted: Adapted) -> torch.Tensor:
    adapted.evaluating()
    texts = rows(adapted.family)
    with torch.no_grad():
        return adapted.states(texts, [range(len(text)) for text in texts])


def randomise(adapted: Adapted) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in adapted.own.values():
            value.add_(torch.randn(value.shape, generator=generator).to(value) * 0.3)


Start = Callable[[str], tuple[Family, torch.Tensor]]


@pytest.fixture(scope="module")
def start(tiny: ModuleType) -> Start:
    """A new copy of a family's model, and the states that it starts with; each is built once."""
    built: dict[str, tuple[Family, torch.Tensor]] = {}

    def made(name: str) -> tuple[Family, torch.Tensor]:
        if name not in built:
            family = tiny.build(name, torch.float32)
            built[name] = family, states(Adapted(copy.deepcopy(family)))
        family, first = built[name]
        return copy.deepcopy(family), first

    return made


@dataclass(frozen=True)
class Cell:
    """A method on a family: the base's states, the states once it was attached, and the model with other weights."""

    method: str
    base: torch.Tensor
    attached: torch.Tensor
    adapted: Adapted


@pytest.fixture(scope="module", params=[cell for cell in CELLS if cell not in REFUSED], ids="-".join)
def cell(request: pytest.FixtureRequest, start: Start) -> Cell:
    method, name = request.param
    family, base = start(name)
    adapted = method_of(method).attach(family, None, 3)
    attached = states(adapted)
    randomise(adapted)
    return Cell(method, base, attached, adapted)


def test_it_starts_switches_off_and_comes_back(cell: Cell) -> None:
    assert torch.equal(cell.attached, cell.base) == (cell.method not in MOVING)
    changed = states(cell.adapted)
    assert (changed - cell.base).abs().max() > 1e-3
    with cell.adapted.disabled():
        assert torch.equal(states(cell.adapted), cell.base)
    assert torch.equal(states(cell.adapted), changed)
    saved = {key: value.clone() for key, value in cell.adapted.state().items()}
    randomise(cell.adapted)
    assert not torch.equal(states(cell.adapted), changed)
    cell.adapted.load(saved)
    assert torch.equal(states(cell.adapted), changed)


def test_gradients_reach_what_is_trained_and_nothing_else(cell: Cell) -> None:
    adapted = cell.adapted
    adapted.training(False)
    texts = rows(adapted.family)
    adapted.states(texts, [range(len(text)) for text in texts]).square().sum().backward()
    reached = [key for key, value in adapted.own.items() if value.grad is not None and value.grad.abs().sum() > 0]
    assert len(reached) > 0.5 * len(adapted.own)
    own = {id(value) for value in adapted.own.values()}
    assert all(value.grad is None for value in adapted.family.module.parameters() if id(value) not in own)


@pytest.mark.parametrize(("method", "name"), sorted(REFUSED))
def test_what_cannot_be_is_refused_in_words(method: str, name: str, start: Start) -> None:
    with pytest.raises(IncompatibleError) as caught:
        method_of(method).attach(start(name)[0], None, 3)
    assert caught.value.what.startswith(REFUSED[method, name])
