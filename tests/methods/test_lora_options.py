"""DoRA, PiSSA and LoRA+: what their formulas say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from rung.methods.lora import Lora
from rung.methods.lora_linear import DoraLinear, PissaLinear
from rung.models.families import Family
from rung.run.start import open_model


def family(folder: Path) -> Family:
    return open_model(str(folder), {"dtype": "float32", "device": "cpu"}).family


def test_dora_is_the_formula_of_its_paper(tiny_models: dict[str, Path]) -> None:
    adapted = Lora(r=3, use_dora=True).attach(family(tiny_models["bert"]), None, 0)
    layer = next(iter(adapted.layers.values()))
    assert isinstance(layer, DoraLinear)
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for value in (layer.lora_A, layer.lora_B, layer.lora_magnitude_vector):
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(2)))
        directed = layer.inner.weight + layer.scaling * layer.lora_B @ layer.lora_A
        weight = layer.lora_magnitude_vector.unsqueeze(1) * directed / directed.norm(dim=1, keepdim=True)
        torch.testing.assert_close(layer(x), x @ weight.T + layer.inner.bias, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(layer.merged(), weight, rtol=1e-4, atol=1e-4)


def test_pissa_starts_at_the_largest_part_of_each_weight(tiny_models: dict[str, Path]) -> None:
    adapted = Lora(r=4, init_lora_weights="pissa").attach(family(tiny_models["llama"]), None, 0)
    again = Lora(r=4, init_lora_weights="pissa").attach(family(tiny_models["llama"]), None, 0)
    for path, layer in adapted.layers.items():
        assert isinstance(layer, PissaLinear)
        left, values, right = torch.linalg.svd(layer.inner.weight)
        wanted = (left[:, :4] * values[:4]) @ right[:4]
        torch.testing.assert_close(layer.scaling * layer.lora_B @ layer.lora_A, wanted, rtol=1e-3, atol=1e-3)
        assert torch.equal(layer.lora_A, again.layers[path].lora_A), "the same seed gives the same bytes"
        x = torch.randn(5, layer.inner.weight.shape[1], generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(layer(x), layer.base(x), rtol=1e-4, atol=1e-4)


def test_lora_plus_names_the_second_matrices(tiny_models: dict[str, Path]) -> None:
    adapted = Lora(r=4, loraplus_lr_ratio=16).attach(family(tiny_models["llama"]), None, 0)
    assert set(adapted.rates) == {name for name in adapted.own if ".lora_B." in name}
    assert set(adapted.rates.values()) == {16}
    assert Lora(r=4).attach(family(tiny_models["llama"]), None, 0).rates == {}


@pytest.mark.parametrize("other", [{"lora_dropout": 0.1}, {"init_lora_weights": "pissa"}])
def test_dora_refuses_what_it_is_not_defined_with(other: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="use_dora goes with neither lora_dropout nor init_lora_weights=pissa"):
        Lora.model_validate({"type": "lora", "use_dora": True, **other})
