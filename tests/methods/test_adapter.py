"""Bottleneck adapters: where they stand, what they compute, what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rung.errors import ConfigError
from rung.methods.adapted import Adapted
from rung.methods.adapter import Adapter, AdapterAdapted
from rung.models.families import Family
from rung.run.start import open_model
from rung.types import Tokens

IDS = ((5, 9, 17, 33, 6, 12, 7), (5, 9, 41), (11, 3, 8, 20, 25))
STYLES = ("houlsby", "pfeiffer", "parallel")


def family(folder: Path) -> Family:
    return open_model(str(folder), {"dtype": "float32", "device": "cpu"}).family


def states(adapted: Adapted) -> torch.Tensor:
    adapted.evaluating()
    with torch.no_grad():
        return adapted.states([Tokens(ids) for ids in IDS], [range(len(ids)) for ids in IDS])


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
def test_it_starts_as_its_base_and_adds_what_its_formula_says(
    style: str, name: str, tiny_models: dict[str, Path]
) -> None:
    start = states(Adapted(family(tiny_models[name])))
    adapted = Adapter.model_validate({"style": style, "reduction_factor": 4}).attach(family(tiny_models[name]), None, 0)
    assert torch.equal(states(adapted), start)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in adapted.own.values():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
    assert (states(adapted) - start).abs().max() > 0.01
    with adapted.disabled():
        assert torch.equal(states(adapted), start)


def test_houlsby_has_two_a_block_and_the_others_one(tiny_models: dict[str, Path]) -> None:
    counts = {}
    for style in STYLES:
        adapted = Adapter.model_validate({"style": style}).attach(family(tiny_models["llama"]), None, 0)
        assert isinstance(adapted, AdapterAdapted)
        counts[style] = sum(name.endswith("up.weight") for name in adapted.own)
    assert counts == {"houlsby": 4, "pfeiffer": 2, "parallel": 2}


def test_a_sequential_adapter_reads_what_the_map_puts_out(tiny_models: dict[str, Path]) -> None:
    adapted = Adapter(reduction_factor=8, non_linearity="tanh").attach(family(tiny_models["llama"]), None, 0)
    wrapper = adapted.wrappers["model.layers.0.mlp.down_proj"]
    x = torch.randn(3, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for value in wrapper.bottleneck.parameters():
            value.normal_(generator=torch.Generator().manual_seed(2))
        down, up = wrapper.bottleneck.down, wrapper.bottleneck.up
        y = wrapper.base(x)
        wanted = y + torch.tanh(y @ down.weight.T + down.bias) @ up.weight.T + up.bias
        torch.testing.assert_close(wrapper(x), wanted)


def test_a_parallel_adapter_reads_what_the_feed_forward_part_reads(tiny_models: dict[str, Path]) -> None:
    adapted = Adapter(style="parallel", reduction_factor=8).attach(family(tiny_models["llama"]), None, 0)
    part = adapted.family.layers()[0].mlp
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        with adapted.disabled():
            plain = part(x)
        bottleneck = adapted.wrappers["model.layers.0.mlp.down_proj"].bottleneck
        for value in bottleneck.parameters():
            value.normal_(generator=torch.Generator().manual_seed(2))
        inner = torch.relu(x @ bottleneck.down.weight.T + bottleneck.down.bias)
        wanted = plain + 4 * (inner @ bottleneck.up.weight.T + bottleneck.up.bias)
        torch.testing.assert_close(part(x), wanted)


def test_a_factor_that_leaves_nothing_is_refused(tiny_models: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"method.reduction_factor=64 leaves nothing of a model 32 wide"):
        Adapter(reduction_factor=64).attach(family(tiny_models["llama"]), None, 0)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_scaled_adapter_learns_at_a_rate_as_much_smaller(kind: str) -> None:
    plain = Adapter().default_rate(kind)
    assert Adapter(style="parallel").default_rate(kind) == plain / 4
    assert Adapter(scaling=2.0).default_rate(kind) == plain / 2
