"""Soft prompts, prefixes and IA3: PEFT and Rung open each other's files and give the same numbers."""

from __future__ import annotations

import copy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from peft import IA3Config, PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from pydantic import ValidationError

from rung.errors import ConfigError
from rung.methods.adapted import Adapted
from rung.methods.base import WeightMethod
from rung.methods.ia3 import Ia3
from rung.methods.peft import Peft
from rung.methods.peft_formats import open_peft
from rung.methods.prefix import PrefixTuning
from rung.methods.soft_prompt import SoftPrompt
from rung.run.record import write_adapted
from rung.types import Tokens

METHODS: dict[str, tuple[WeightMethod, Any]] = {
    "soft_prompt": (SoftPrompt(num_virtual_tokens=5), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)),
    "prefix": (PrefixTuning(num_virtual_tokens=5), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)),
    "prefix_projection": (
        PrefixTuning(num_virtual_tokens=5, prefix_projection=True, encoder_hidden_size=8),
        PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5, prefix_projection=True, encoder_hidden_size=8),
    ),
    "ia3": (Ia3(), IA3Config(task_type="CAUSAL_LM")),
}
CASES = [(method, model) for method in METHODS for model in ("llama", "gpt2")] + [("ia3", "bert")]


@pytest.mark.parametrize(("method", "name"), CASES)
def test_peft_opens_what_is_saved_here(
    method: str, name: str, pairs: ModuleType, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    adapted = METHODS[method][0].attach(pairs.family(tiny_models[name]), None, 1)
    with adapted.disabled():
        start = pairs.ours(adapted)
    pairs.randomise(adapted.own.values(), around=1.0)
    write_adapted(tmp_path, adapted, None)
    opened = PeftModel.from_pretrained(pairs.base(name, tiny_models[name]), str(tmp_path))
    assert pairs.distance(pairs.ours(adapted), pairs.theirs(opened)) < 1e-5
    assert (pairs.ours(adapted) - start).abs().max() > 0.01


@pytest.mark.parametrize(("method", "name"), CASES)
def test_what_peft_saved_opens_here(
    method: str, name: str, pairs: ModuleType, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    config = copy.deepcopy(METHODS[method][1])  # PEFT writes the model's sizes into it
    if method == "ia3" and name == "gpt2":
        config.fan_in_fan_out = True
    if name == "bert":
        config = IA3Config(target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"])
    made = get_peft_model(pairs.base(name, tiny_models[name]), config)
    pairs.randomise([value for value in made.parameters() if value.requires_grad], around=1.0)
    made.save_pretrained(tmp_path)
    adapted = open_peft(tmp_path, pairs.family(tiny_models[name]))
    assert pairs.distance(pairs.ours(adapted), pairs.theirs(made)) < 1e-5


def test_a_prefix_whose_network_was_folded_away_loads_to_the_same_answers(
    pairs: ModuleType, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    method = METHODS["prefix_projection"][0]
    trained = method.attach(pairs.family(tiny_models["llama"]), None, 1)
    assert "transform.0.weight" in trained.trainable
    fresh = method.attach(pairs.family(tiny_models["llama"]), None, 2)
    fresh.load(trained.state())
    assert set(fresh.trainable) == {"prompt_embeddings"}
    assert torch.equal(pairs.ours(fresh), pairs.ours(trained))


LAYERS: dict[str, dict[str, Any]] = {
    "LOHA": {"r": 4, "target_modules": ["q_proj", "down_proj"]},
    "LOKR": {"r": 4, "target_modules": ["q_proj", "v_proj"]},
    "OFT": {"oft_block_size": 4, "target_modules": ["q_proj"]},
    "LN_TUNING": {"target_modules": ["input_layernorm", "post_attention_layernorm"]},
    "HRA": {"r": 4, "target_modules": ["q_proj"]},
    "FOURIERFT": {"n_frequency": 20, "target_modules": ["q_proj", "v_proj"]},
    "MISS": {"r": 4, "target_modules": ["q_proj"]},
    "DELORA": {"r": 4, "target_modules": ["q_proj"]},
}


@pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning")
@pytest.mark.parametrize("kind", LAYERS)
def test_any_kind_of_layers_trains_switches_off_and_opens_in_peft(
    kind: str, pairs: ModuleType, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    start = pairs.ours(Adapted(pairs.family(tiny_models["llama"])))
    method = Peft(config={"peft_type": kind, **LAYERS[kind]})
    adapted = method.attach(pairs.family(tiny_models["llama"]), None, 1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in adapted.own.values():
            value.add_(torch.randn(value.shape, generator=generator) * 0.3)
    changed = pairs.ours(adapted)
    assert (changed - start).abs().max() > 1e-3
    with adapted.disabled():
        assert torch.equal(pairs.ours(adapted), start)
    assert torch.equal(pairs.ours(adapted), changed)
    adapted.logprobs([Tokens(ids, (-100, *ids[1:])) for ids in pairs.IDS]).sum().backward()
    assert any(value.grad is not None and value.grad.abs().sum() > 0 for value in adapted.own.values())
    write_adapted(tmp_path, adapted, None)
    assert (
        pairs.distance(
            changed, pairs.theirs(PeftModel.from_pretrained(pairs.base("llama", tiny_models["llama"]), str(tmp_path)))
        )
        < 1e-5
    )
    again = open_peft(tmp_path, pairs.family(tiny_models["llama"]))
    assert torch.equal(pairs.ours(again), changed)


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"peft_type": "LOHAA"}, "peft_type='LOHAA' can't be used here. Did you mean LOHA?"),
        ({"peft_type": "PREFIX_TUNING"}, "peft_type='PREFIX_TUNING' can't be used here."),
        ({}, "peft_type=None can't be used here."),
        ({"peft_type": "LOHA", "rnk": 3}, "LoHaConfig of PEFT has no setting 'rnk'."),
        ({"peft_type": "LORA", "bias": "all"}, "bias='all' trains the model's own biases too"),
        ({"peft_type": "LORA", "modules_to_save": ["lm_head"]}, "modules_to_save=['lm_head'] trains"),
    ],
)
def test_settings_that_peft_has_not_are_refused(config: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Peft(config=config)
    assert what in str(caught.value)


def test_a_soft_prompt_that_stands_before_cls_is_refused(
    pairs: ModuleType, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    config = PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=3)
    get_peft_model(pairs.base("bert", tiny_models["bert"]), config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"puts its tokens before the first, \[CLS\]"):
        open_peft(tmp_path, pairs.family(tiny_models["bert"]))
