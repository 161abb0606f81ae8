"""The cells of docs/interop.md: what PEFT and Rung open of each other, family by family, and what PEFT does not do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from docs.interop import CELLS, FAILURES
from peft import IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import BertForTokenClassification

from rung.errors import IncompatibleError
from rung.methods.adapted import Adapted
from rung.methods.adapter_config import TASK_TYPES
from rung.methods.base import WeightMethod
from rung.methods.ia3 import Ia3
from rung.methods.lora import Lora
from rung.methods.peft_formats import open_peft
from rung.methods.prefix import PrefixTuning
from rung.methods.soft_prompt import SoftPrompt
from rung.models.blocks import blocks
from rung.models.families import Family
from rung.run.record import write_adapted

METHODS: dict[str, WeightMethod] = {
    "lora": Lora(r=2),
    "dora": Lora(r=2, use_dora=True),
    "ia3": Ia3(),
    "prefix": PrefixTuning(num_virtual_tokens=3),
    "soft_prompt": SoftPrompt(num_virtual_tokens=3),
}
BOTH = [cell for cell, holds in CELLS.items() if holds == "both"]
OPENS = [cell for cell, holds in CELLS.items() if holds in {"both", "opens"}]
OWN = [cell for cell, holds in CELLS.items() if holds in {"own", "opens"}]
REFUSED = [cell for cell, holds in CELLS.items() if holds == "refused"]


@pytest.fixture
def make(tiny: ModuleType) -> Callable[[str], Family]:
    return lambda name: tiny.build(name, torch.float32)


def their_config(method: str, family: Family) -> Any:
    task, transposed = TASK_TYPES[family.kind], family.module.config.model_type == "gpt2"
    if method in {"lora", "dora"}:
        maps = sorted(family.linears())
        return LoraConfig(
            task_type=task, r=2, target_modules=maps, use_dora=method == "dora", fan_in_fan_out=transposed
        )
    if method == "ia3":
        outputs = {block.feed_forward for block in blocks(family)}
        named = {path for block in blocks(family) for path in (*block.keys, *block.values, *block.joined)}
        maps = sorted(named | outputs)
        return IA3Config(
            task_type=task, target_modules=maps, feedforward_modules=sorted(outputs), fan_in_fan_out=transposed
        )
    kind = PrefixTuningConfig if method == "prefix" else PromptTuningConfig
    return kind(task_type=task, num_virtual_tokens=3, **_sizes(family))


def _sizes(family: Family) -> dict[str, int]:
    """What PEFT reads from most configurations, and does not find in DistilBERT's."""
    config = family.module.config
    if config.model_type != "distilbert":
        return {}
    return {"token_dim": config.dim, "num_layers": config.n_layers, "num_attention_heads": config.n_heads}


def around(method: str) -> float:
    return 1.0 if method == "ia3" else 0.0


@pytest.mark.parametrize(("method", "name"), BOTH)
def test_peft_opens_what_rung_saved(
    method: str, name: str, make: Callable[[str], Family], pairs: ModuleType, tmp_path: Path
) -> None:
    adapted = METHODS[method].attach(make(name), None, 1)
    start = pairs.states(Adapted(make(name)))
    pairs.randomise(adapted.own.values(), around(method))
    write_adapted(tmp_path, adapted, None)
    opened = PeftModel.from_pretrained(make(name).module, str(tmp_path))
    mine = pairs.states(adapted)
    # PEFT adds term and map in another order
    assert pairs.distance(mine, pairs.their_states(opened, adapted.family.kind)) < 3e-5
    assert pairs.distance(mine, start) > 1e-3


@pytest.mark.parametrize(("method", "name"), OPENS)
def test_rung_opens_what_peft_saved(
    method: str, name: str, make: Callable[[str], Family], pairs: ModuleType, tmp_path: Path
) -> None:
    family = make(name)
    made = get_peft_model(make(name).module, their_config(method, family))
    pairs.randomise([value for value in made.parameters() if value.requires_grad], around(method))
    made.save_pretrained(tmp_path)
    adapted = open_peft(tmp_path, family)
    assert pairs.distance(pairs.states(adapted), pairs.their_states(made, family.kind)) < 3e-5


@pytest.mark.parametrize(("method", "name"), OWN)
def test_what_peft_has_not_is_in_a_format_of_rungs_own(
    method: str, name: str, make: Callable[[str], Family], tmp_path: Path
) -> None:
    adapted = METHODS[method].attach(make(name), None, 1)
    write_adapted(tmp_path, adapted, None)
    described = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert described == {"rung_type": method, "num_virtual_tokens": 3}
    with pytest.raises(KeyError, match="peft_type"):
        PeftModel.from_pretrained(make(name).module, str(tmp_path))


@pytest.mark.parametrize(("method", "name"), REFUSED)
def test_a_method_that_does_not_go_there_is_refused(method: str, name: str, make: Callable[[str], Family]) -> None:
    with pytest.raises(IncompatibleError, match=f"method={method}"):
        METHODS[method].attach(make(name), None, 1)


def their_model(method: str, name: str, make: Callable[[str], Family], pairs: ModuleType) -> Any:
    made = get_peft_model(make(name).module, their_config(method, make(name)))
    pairs.randomise([value for value in made.parameters() if value.requires_grad])
    return made


def ignored(name: str, make: Callable[[str], Family], pairs: ModuleType) -> None:
    made = their_model("prefix", name, make, pairs)
    alone = make(name).module
    alone.set_attn_implementation(made.get_base_model().config._attn_implementation)
    assert pairs.distance(pairs.their_states(made, "encoder"), pairs.their_states(alone, "encoder")) < 1e-5


def breaks(method: str, name: str, make: Callable[[str], Family], pairs: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"must match"):
        pairs.their_states(their_model(method, name, make, pairs), "encoder")


def of_other_layers(make: Callable[[str], Family], pairs: ModuleType) -> None:
    made = their_model("prefix", "t5", make, pairs)
    before = pairs.their_states(made, "encoder_decoder")
    table = made.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        table[:, table.shape[1] // 2 :] += 1.0
    assert torch.equal(pairs.their_states(made, "encoder_decoder"), before)
    with torch.no_grad():
        table[:, : table.shape[1] // 2] += 1.0
    assert pairs.distance(pairs.their_states(made, "encoder_decoder"), before) > 1e-3


def before_cls(make: Callable[[str], Family], pairs: ModuleType) -> None:
    made = their_model("soft_prompt", "bert", make, pairs)
    family = make("bert")
    with torch.no_grad():
        prompt = made.get_prompt(batch_size=1)
        words = family.embedding(torch.tensor([pairs.IDS[0]]))
        put_before = family.module(inputs_embeds=torch.cat([prompt, words], 1), output_hidden_states=True)
    found = pairs.answer(made, pairs.IDS[0], output_hidden_states=True).hidden_states[-1]
    assert pairs.distance(found, put_before.hidden_states[-1]) < 1e-5


def tagged(make: Callable[[str], Family], pairs: ModuleType) -> None:
    config = make("bert").module.config
    made = get_peft_model(
        BertForTokenClassification(config), PromptTuningConfig(task_type="TOKEN_CLS", num_virtual_tokens=3)
    )
    assert pairs.answer(made, pairs.IDS[0]).logits.shape[1] == 3 + len(pairs.IDS[0])


SHOWN: dict[str, Callable[[Callable[[str], Family], ModuleType], None]] = {
    "prefix_ignored_by_distilbert": lambda make, pairs: ignored("distilbert", make, pairs),
    "prefix_ignored_by_mpnet": lambda make, pairs: ignored("mpnet", make, pairs),
    "prefix_breaks_modernbert": lambda make, pairs: breaks("prefix", "modernbert", make, pairs),
    "prefix_breaks_deberta_v2": lambda make, pairs: breaks("prefix", "deberta_v2", make, pairs),
    "prefix_of_other_layers": of_other_layers,
    "prompt_before_cls": before_cls,
    "prompt_as_wide_as_states": lambda make, pairs: breaks("soft_prompt", "electra", make, pairs),
    "prompt_is_tagged": tagged,
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_peft_does_not_do(failure: str, make: Callable[[str], Family], pairs: ModuleType) -> None:
    SHOWN[failure](make, pairs)
