"""Ranks, names and tables that a method can't use: said with the value, the nearest name and what would do."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PrefixTuningConfig, TrainableTokensConfig, get_peft_model

from rung.errors import ArtifactError, ConfigError, IncompatibleError
from rung.methods.ia3 import Ia3
from rung.methods.lora import Lora
from rung.methods.peft import Peft
from rung.methods.peft_formats import open_peft
from rung.models.families import Family

MAPS = "Its linear maps end in: down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj."
NOT_ADAPTED = "and this table is never adapted"


@pytest.fixture
def llama(pairs: ModuleType, tiny_models: dict[str, Path]) -> Family:
    """A decoder that predicts words by the table that embeds them."""
    return pairs.family(tiny_models["llama"])


@pytest.mark.parametrize("more", [{}, {"use_dora": True}, {"init_lora_weights": "pissa"}])
def test_a_rank_larger_than_the_layer(more: dict[str, Any], llama: Family) -> None:
    with pytest.raises(ConfigError) as caught:
        Lora(r=33, **more).attach(llama, None, 0)
    assert caught.value.what == "method.r=33 is larger than model.layers.0.self_attn.q_proj (32, 32)"
    assert caught.value.todo == "Take r=32 or less."


@pytest.mark.parametrize(
    ("method", "setting"),
    [
        (Lora(target_modules=("q_porj",)), "method.target_modules='q_porj' matches no linear map of this model."),
        (
            Ia3(target_modules=("k_proj", "q_porj")),
            "method.target_modules='q_porj' matches no linear map of this model.",
        ),
        (
            Peft(config={"peft_type": "LOHA", "target_modules": ["k_proj", "q_porj"]}),
            "method.config.target_modules='q_porj' matches no module of this model.",
        ),
    ],
    ids=["lora", "ia3", "peft"],
)
def test_a_name_that_matches_nothing_is_said_with_the_nearest(method: Any, setting: str, llama: Family) -> None:
    with pytest.raises(ConfigError) as caught:
        method.attach(llama, None, 0)
    assert caught.value.what == f"{setting} Did you mean 'q_proj'?"
    assert caught.value.todo == MAPS


@pytest.mark.parametrize("table", ["embed_tokens", "lm_head"])
@pytest.mark.parametrize("method", [Lora, Ia3])
def test_the_word_tables_are_no_targets(method: Any, table: str, llama: Family) -> None:
    with pytest.raises(ConfigError, match=f"target_modules='{table}' matches no linear map of this model"):
        method(target_modules=(table,)).attach(llama, None, 0)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"peft_type": "LORA", "target_modules": ["embed_tokens"]}, "Embedding of PEFT stands in the input table"),
        ({"peft_type": "LORA", "target_modules": ["lm_head"]}, "Linear of PEFT stands in the output table"),
        ({"peft_type": "TRAINABLE_TOKENS", "token_indices": [5]}, "TrainableTokensLayer of PEFT stands in the input"),
        (
            {"peft_type": "LORA", "target_modules": ["q_proj"], "trainable_token_indices": [5]},
            "TrainableTokensWrapper of PEFT stands in the input table",
        ),
    ],
    ids=["embedding", "output", "tokens", "tokens beside"],
)
def test_pefts_layers_are_refused_in_the_word_tables(config: dict[str, Any], said: str, llama: Family) -> None:
    with pytest.raises(IncompatibleError) as caught:
        Peft(config=config).attach(llama, None, 0)
    assert said in caught.value.what
    assert caught.value.what.endswith(f"of the words, which is the other's too (tied weights), {NOT_ADAPTED}")


def test_merging_into_a_model_with_tied_weights_leaves_its_table_alone(llama: Family, pairs: ModuleType) -> None:
    table = llama.embedding.weight.clone()
    adapted = Lora(r=4).attach(llama, None, 0)
    pairs.randomise(adapted.own.values())
    before = pairs.ours(adapted)
    adapted.merge()
    assert llama.output is not None
    assert llama.output.weight is llama.embedding.weight
    assert torch.equal(llama.embedding.weight, table)
    assert pairs.distance(pairs.ours(adapted), before) < 1e-5


TIED = pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`.*:UserWarning")
"""PEFT's own warning."""

Q, KV = {"target_modules": ["q_proj"]}, {"target_modules": ["k_proj", "v_proj"], "feedforward_modules": []}
BESIDE = [
    (LoraConfig(**Q, modules_to_save=["lm_head"]), 'modules_to_save=["lm_head"]'),
    (LoraConfig(**Q, trainable_token_indices=[5, 9]), "trainable_token_indices=[5, 9]"),
    (IA3Config(**KV, modules_to_save=["norm"]), 'modules_to_save=["norm"]'),
    (IA3Config(**KV, exclude_modules=["v_proj"]), 'exclude_modules=["v_proj"]'),
    (
        PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2, modules_to_save=["norm"]),
        'modules_to_save=["norm"]',
    ),
]


@TIED
@pytest.mark.parametrize(("config", "said"), BESIDE)
def test_what_peft_trained_besides_is_refused_by_name(
    config: Any, said: str, llama: Family, pairs: ModuleType, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    get_peft_model(pairs.base("llama", tiny_models["llama"]), config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError) as caught:
        open_peft(tmp_path, llama)
    assert caught.value.what == f"adapter_config.json: {said} is not supported"


@TIED
def test_peft_trained_tokens_are_refused(
    llama: Family, pairs: ModuleType, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    config = TrainableTokensConfig(token_indices=[5, 9], target_modules=["embed_tokens"])
    get_peft_model(pairs.base("llama", tiny_models["llama"]), config).save_pretrained(tmp_path)
    with pytest.raises(ArtifactError, match="it changes the vocabulary's rows, which no method here does"):
        open_peft(tmp_path, llama)


def test_tables_of_a_resized_vocabulary_are_refused(
    llama: Family, pairs: ModuleType, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    model = pairs.base("llama", tiny_models["llama"])
    get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path, save_embedding_layers=True)
    with pytest.raises(ArtifactError) as caught:
        open_peft(tmp_path, llama)
    assert "it changes the vocabulary's rows, which no method here does" in caught.value.what
    assert caught.value.todo == "Merge the adapter into its model with PEFT, and name that model."


def test_a_rank_that_does_not_fit_is_told_as_the_files(
    llama: Family, pairs: ModuleType, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    config = LoraConfig(r=40, target_modules=["q_proj"])
    get_peft_model(pairs.base("llama", tiny_models["llama"]), config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"^adapter_config\.json: r=40 is larger than model\.layers\.0"):
        open_peft(tmp_path, llama)


@pytest.mark.parametrize("count", [None, 0, "many"])
def test_a_count_that_is_none_is_told_as_the_files(count: Any, llama: Family, tmp_path: Path) -> None:
    config = {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": count}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError) as caught:
        open_peft(tmp_path, llama)
    assert caught.value.what.startswith(f"adapter_config.json: num_virtual_tokens={count!r}: Input should be")
