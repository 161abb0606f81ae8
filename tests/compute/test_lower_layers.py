"""Where nothing below a layer is trained, the backward pass ends there."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from rung.compute.recompute import recompute_layers
from rung.methods.adapted import Adapted
from rung.methods.lora import Lora
from rung.models.families import Family
from rung.types import Tokens

LAYERS = 4
LENGTHS = (3, 7, 7, 12, 30)
SRC = Path(__file__).parents[2] / "src"


@pytest.fixture(params=["llama", "gpt2", "bert"])
def name(request: pytest.FixtureRequest, tiny: ModuleType, monkeypatch: pytest.MonkeyPatch) -> str:
    """A family, four layers deep; the call by which gradients would reach the embeddings is refused."""
    kind, config, model, settings = tiny.CHOICES[request.param]
    depth = "n_layer" if request.param == "gpt2" else "num_hidden_layers"
    monkeypatch.setitem(tiny.CHOICES, request.param, (kind, config, model, settings | {depth: LAYERS}))
    monkeypatch.setattr(PreTrainedModel, "enable_input_require_grads", refused)
    return request.param


def refused(*_: object) -> None:
    raise AssertionError("gradients would reach the embeddings")


def adapted(tiny: ModuleType, name: str, top: int) -> Adapted:
    """LoRA on the uppermost `top` layers, its terms there not zero."""
    family = tiny.build(name)
    targets = targets_above(family, LAYERS - top)
    made = Lora(r=4, target_modules=targets).attach(family, None, 3)
    with torch.no_grad():
        for path, value in made.trainable.items():
            value.data = value.double().add_(0.01 * in_the_top_layer(family, path))
    made.training(False)
    return made


def targets_above(family: Family, first: int) -> tuple[str, ...]:
    """Paths of the linear maps of the layers from `first` on."""
    paths = {part: path for path, part in family.module.named_modules()}
    chosen = tuple(paths[layer] + "." for layer in family.layers()[first:])
    return tuple(path for path in family.linears() if path.startswith(chosen))


def in_the_top_layer(family: Family, path: str) -> bool:
    paths = {part: path for path, part in family.module.named_modules()}
    return path.startswith(paths[family.layers()[-1]] + ".")


def rows(tiny: ModuleType) -> list[Tokens]:
    return tiny.sequences(LENGTHS, shared=9)


def loss(made: Adapted, sequences: list[Tokens]) -> torch.Tensor:
    return made.states(sequences, [range(len(one)) for one in sequences]).sin().sum()


def nodes(value: torch.Tensor) -> list[Any]:
    """Every node of the graph that a backward pass from `value` goes through."""
    seen: dict[Any, None] = {}
    stack: list[Any] = [value.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            seen[node] = None
            stack += [below for below, _ in node.next_functions]
    return list(seen)


@pytest.mark.parametrize("top", [1, 2, 3])
def test_outputs_below_need_no_gradient(tiny: ModuleType, name: str, top: int) -> None:
    made = adapted(tiny, name, top)
    needs: list[bool] = []
    for layer in made.family.layers():
        layer.register_forward_hook(
            lambda _m, _i, out: needs.append((out[0] if isinstance(out, tuple) else out).requires_grad)
        )
    made.family.embedding.register_forward_hook(lambda _m, _i, out: needs.append(out.requires_grad))
    found = loss(made, rows(tiny))
    assert needs == [False] * (1 + LAYERS - top) + [True] * top
    leaves = {id(node.variable) for node in nodes(found) if type(node).__name__ == "AccumulateGrad"}
    assert leaves == {id(value) for value in made.trainable.values()}


def test_the_graph_grows_by_the_trained_layers_alone(tiny: ModuleType, name: str) -> None:
    sizes = [len(nodes(loss(adapted(tiny, name, top), rows(tiny)))) for top in range(1, LAYERS + 1)]
    steps = [after - before for before, after in pairwise(sizes)]
    assert len(set(steps)) == 1
    assert sizes[0] < 2 * steps[0]  # the lowest trained layer has a few nodes less: its input needs no gradient


def test_gradients_are_those_of_training_all_layers(tiny: ModuleType, name: str) -> None:
    found: list[dict[str, torch.Tensor]] = []
    for top in (1, LAYERS):
        made = adapted(tiny, name, top)
        loss(made, rows(tiny)).backward()
        found.append({path: value.grad for path, value in made.trainable.items() if value.grad is not None})
    short, whole = found
    assert len(whole) == LAYERS * len(short)
    for path, gradient in short.items():
        assert float((gradient - whole[path]).norm()) <= 1e-10 * float(whole[path].norm())
        assert float(gradient.norm()) > 0


@pytest.mark.parametrize("top", [1, 2])
def test_recomputation_stops_there_too(tiny: ModuleType, name: str, top: int) -> None:
    made = adapted(tiny, name, top)
    runs = [0] * LAYERS
    for number, layer in enumerate(made.family.layers()):

        def counted(*args: Any, _number: int = number, _forward: Any = layer.forward, **kwargs: Any) -> Any:
            runs[_number] += 1
            return _forward(*args, **kwargs)

        layer.forward = counted
    recompute_layers(made.family)
    loss(made, rows(tiny)).backward()
    assert runs == [1] * (LAYERS - top) + [2] * top


def test_nothing_asks_for_gradients_of_embeddings() -> None:
    asking = [path for path in SRC.rglob("*.py") if "enable_input_require_grads" in path.read_text(encoding="utf-8")]
    assert asking == []
