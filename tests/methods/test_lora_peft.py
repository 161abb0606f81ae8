"""LoRA and PEFT open each other's adapters and give the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from rung.errors import ArtifactError, ConfigError
from rung.methods.lora import Lora, LoraAdapted
from rung.methods.lora_peft import from_peft
from rung.methods.peft_formats import open_peft
from rung.run.record import write_adapted

PLAIN = LoraConfig(r=4).to_dict() | {"peft_type": "LORA", "target_modules": ["q_proj"]}


SETTINGS = [
    Lora(r=4),
    Lora(r=3, lora_alpha=5, use_rslora=True),
    Lora(r=2, lora_dropout=0.5, target_modules=("0.attention.self.query", "output.dense")),
    Lora(r=2, target_modules=("q_proj", "mlp.down_proj")),
    Lora(r=2, target_modules=("c_attn",)),
    Lora(r=3, use_dora=True),
    Lora(r=3, init_lora_weights="pissa"),
    Lora(r=3, init_lora_weights="pissa", use_rslora=True),
]


@pytest.mark.parametrize(
    ("name", "at"),
    [
        *[("llama", 0), ("llama", 1), ("llama", 3), ("gpt2", 0), ("gpt2", 4), ("bert", 0), ("bert", 1), ("bert", 2)],
        *[(name, at) for name in ("llama", "gpt2", "bert") for at in (5, 6, 7)],
    ],
)
def test_peft_opens_what_is_saved_here(
    name: str, at: int, pairs: ModuleType, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    adapted = SETTINGS[at].attach(pairs.family(tiny_models[name]), None, 1)
    start = pairs.ours(adapted)
    pairs.randomise(adapted.own.values())
    write_adapted(tmp_path, adapted, None)
    opened = PeftModel.from_pretrained(pairs.base(name, tiny_models[name]), str(tmp_path))
    assert pairs.distance(pairs.ours(adapted), pairs.theirs(opened)) < 1e-5
    assert (pairs.ours(adapted) - start).abs().max() > 0.01


CASES = [
    ("llama", {"r": 4}),
    ("llama", {"r": 3, "lora_alpha": 7, "use_rslora": True, "target_modules": ["q_proj", "down_proj"]}),
    ("llama", {"r": 2, "target_modules": "all-linear", "lora_dropout": 0.3, "init_lora_weights": "gaussian"}),
    ("llama", {"r": 2, "target_modules": ["layers.1.self_attn.v_proj"]}),
    ("gpt2", {"r": 4, "target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    ("bert", {"r": 2, "target_modules": ["query", "value", "intermediate.dense"]}),
    ("llama", {"r": 2, "target_modules": ["q_proj", "down_proj"], "use_dora": True}),
    ("bert", {"r": 2, "target_modules": ["query", "output.dense"], "use_dora": True}),
]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_what_peft_saved_opens_here(
    name: str, settings: dict[str, Any], pairs: ModuleType, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    made = get_peft_model(pairs.base(name, tiny_models[name]), LoraConfig(**settings))
    pairs.randomise([value for key, value in made.named_parameters() if "lora_A" in key or "lora_B" in key])
    made.save_pretrained(tmp_path)
    adapted = open_peft(tmp_path, pairs.family(tiny_models[name]))
    assert isinstance(adapted, LoraAdapted)
    assert pairs.distance(pairs.ours(adapted), pairs.theirs(made)) < 1e-5
    assert adapted.settings.r == settings["r"]


def test_an_adapter_goes_to_peft_and_back(pairs: ModuleType, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    first = SETTINGS[1].attach(pairs.family(tiny_models["llama"]), None, 1)
    pairs.randomise(first.own.values())
    write_adapted(tmp_path / "ours", first, None)
    PeftModel.from_pretrained(pairs.base("llama", tiny_models["llama"]), str(tmp_path / "ours")).save_pretrained(
        tmp_path / "peft"
    )
    second = open_peft(tmp_path / "peft", pairs.family(tiny_models["llama"]))
    assert isinstance(second, LoraAdapted)
    assert second.settings.model_copy(update={"target_modules": "all-linear"}) == SETTINGS[1]
    assert all(torch.equal(value, second.own[name]) for name, value in first.own.items())


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"peft_type": "IA3"}, "peft_type='IA3' is not LORA"),
        ({"modules_to_save": ["classifier"]}, 'modules_to_save=["classifier"] is not supported'),
        ({"rank_pattern": {"q_proj": 8}}, 'rank_pattern={"q_proj": 8} is not supported'),
        ({"alpha_pattern": {"q_proj": 8}}, 'alpha_pattern={"q_proj": 8} is not supported'),
        ({"layers_to_transform": 0}, "layers_to_transform=0 is not supported"),
        ({"layers_to_transform": [0]}, "layers_to_transform=[0] is not supported"),
        ({"lora_bias": True}, "lora_bias=true is not supported"),
        ({"a_new_option": 1}, "a_new_option=1 is not supported"),
        ({"bias": "all"}, "bias='all' trains biases too"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa' changes the base weights"),
        ({"target_modules": ".*q_proj"}, "target_modules='.*q_proj' is no list of names"),
        ({"target_modules": None}, "target_modules=None is no list of names"),
        ({"r": 0}, "r=0: Input should be greater than or equal to 1"),
    ],
)
def test_options_that_are_not_supported_are_refused_by_name(change: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_peft(PLAIN | change)
    assert caught.value.what == f"adapter_config.json: {what}"


def test_plain_settings_pass() -> None:
    assert from_peft(PLAIN) == Lora(r=4, lora_alpha=8, target_modules=("q_proj",))


def test_tensors_of_another_model_are_refused(pairs: ModuleType, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    adapted = Lora(r=2).attach(pairs.family(tiny_models["llama"]), None, 1)
    write_adapted(tmp_path, adapted, None)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    config["target_modules"] = ["q_proj"]
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError) as caught:
        open_peft(tmp_path, pairs.family(tiny_models["llama"]))
    assert caught.value.what.startswith(
        f"{tmp_path / 'adapter_model.safetensors'} does not fit llama: missing [], unknown ["
    )
    config["target_modules"], config["r"] = "all-linear", 3
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=r"lora_A\.weight has shape \(2, 32\), wanted \(3, 32\)"):
        open_peft(tmp_path, pairs.family(tiny_models["llama"]))


def test_a_pickle_is_never_opened(pairs: ModuleType, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(PLAIN, default=list))
    (tmp_path / "adapter_model.bin").write_bytes(b"not looked at")
    with pytest.raises(ArtifactError, match="as safetensors: pickles are never opened"):
        open_peft(tmp_path, pairs.family(tiny_models["llama"]))


def test_smollm2_answers_the_same_through_peft(pairs: ModuleType, smollm2_path: Path, tmp_path: Path) -> None:
    adapted = Lora(r=4).attach(pairs.family(smollm2_path), None, 1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in adapted.own.items():
            if "lora_B" in name:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.01)
    write_adapted(tmp_path, adapted, None)
    found = pairs.ours(adapted)
    with adapted.disabled():
        assert (pairs.ours(adapted) - found).abs().max() > 0.1
    opened = PeftModel.from_pretrained(pairs.base("llama", smollm2_path), str(tmp_path))
    wanted = pairs.theirs(opened)
    assert (wanted - found).abs().max() < 1e-3
    assert torch.equal(wanted.argmax(1), found.argmax(1))
