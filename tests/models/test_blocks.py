"""The parts of a block are found in every family, whatever they are called there."""

from __future__ import annotations

from types import ModuleType

import pytest

from rung.models.blocks import blocks

FOUND = {
    "llama": ("self_attn.o_proj", "mlp.down_proj", "mlp.gate_proj", "self_attn.k_proj self_attn.v_proj"),
    "qwen3": ("self_attn.o_proj", "mlp.down_proj", "mlp.gate_proj", "self_attn.k_proj self_attn.v_proj"),
    "mistral": ("self_attn.o_proj", "mlp.down_proj", "mlp.gate_proj", "self_attn.k_proj self_attn.v_proj"),
    "gemma2": ("self_attn.o_proj", "mlp.down_proj", "mlp.gate_proj", "self_attn.k_proj self_attn.v_proj"),
    "phi": ("self_attn.dense", "mlp.fc2", "mlp.fc1", "self_attn.k_proj self_attn.v_proj"),
    "gpt2": ("attn.c_proj", "mlp.c_proj", "mlp.c_fc", "attn.c_attn"),
    "bert": ("attention.output.dense", "output.dense", "intermediate.dense", "attention.self.key attention.self.value"),
    "roberta": (
        *("attention.output.dense", "output.dense", "intermediate.dense"),
        "attention.self.key attention.self.value",
    ),
    "electra": (
        *("attention.output.dense", "output.dense", "intermediate.dense"),
        "attention.self.key attention.self.value",
    ),
    "distilbert": ("attention.out_lin", "ffn.lin2", "ffn.lin1", "attention.k_lin attention.v_lin"),
    "modernbert": ("attn.Wo", "mlp.Wo", "mlp.Wi", "attn.Wqkv"),
    "deberta_v2": (
        *("attention.output.dense", "output.dense", "intermediate.dense"),
        "attention.self.key_proj attention.self.value_proj",
    ),
}
"""Attention's output, the feed-forward's output and its first map, and the maps that give keys and values."""


@pytest.mark.parametrize("name", FOUND)
def test_each_part_is_found(tiny: ModuleType, name: str) -> None:
    found = blocks(tiny.build(name))
    assert len(found) == 2
    for block in found:
        (attention,) = block.attention
        inner = " ".join((*block.keys, *block.values, *block.joined)).split(" ")
        layer = next(attention[: -len(end)] for end in [FOUND[name][0]] if attention.endswith("." + end))
        names = [path.removeprefix(layer) for path in (attention, block.feed_forward, block.reader)]
        assert (*names, " ".join(path.removeprefix(layer) for path in inner)) == FOUND[name]


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_an_encoder_decoders_decoder_has_two_attentions(tiny: ModuleType, name: str) -> None:
    found = blocks(tiny.build(name))
    assert [len(block.attention) for block in found] == [1, 1, 2, 2]
    ends = {"t5": "DenseReluDense.wo", "bart": "fc2"}
    assert all(block.feed_forward.endswith(ends[name]) for block in found)
    assert all(len(block.keys) == len(block.attention) for block in found)
