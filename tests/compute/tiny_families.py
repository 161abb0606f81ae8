"""Tiny random models in fp64 and the plain transformers computation they are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers as tf
from torch import nn

from rung.models.families import Family, Kind, describe
from rung.types import Tokens

VOCABULARY = 61

_DECODER: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_ENCODER: dict[str, Any] = {
    key: value for key, value in _DECODER.items() if key not in {"num_key_value_heads", "head_dim"}
} | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
_SEQ2SEQ = {"vocab_size": VOCABULARY, "d_model": 32, "pad_token_id": 0, "decoder_start_token_id": 0}
_T5 = _SEQ2SEQ | {"d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}

CHOICES: dict[str, tuple[Kind, type, type, dict[str, Any]]] = {
    "llama": ("decoder", tf.LlamaConfig, tf.LlamaForCausalLM, _DECODER),
    "gpt2": (
        "decoder",
        tf.GPT2Config,
        tf.GPT2LMHeadModel,
        {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "bos_token_id": 1}
        | {"eos_token_id": 2, "resid_pdrop": 0.0, "attn_pdrop": 0.0, "embd_pdrop": 0.0},
    ),
    "qwen2": ("decoder", tf.Qwen2Config, tf.Qwen2ForCausalLM, _DECODER),
    "qwen3": ("decoder", tf.Qwen3Config, tf.Qwen3ForCausalLM, _DECODER),
    "mistral": ("decoder", tf.MistralConfig, tf.MistralForCausalLM, _DECODER | {"sliding_window": 256}),
    "mistral_short_window": ("decoder", tf.MistralConfig, tf.MistralForCausalLM, _DECODER | {"sliding_window": 6}),
    "gemma": ("decoder", tf.GemmaConfig, tf.GemmaForCausalLM, _DECODER),
    "gemma2": (
        "decoder",
        tf.Gemma2Config,
        tf.Gemma2ForCausalLM,
        _DECODER | {"query_pre_attn_scalar": 8, "sliding_window": 256, "final_logit_softcapping": 5.0},
    ),
    "phi": ("decoder", tf.PhiConfig, tf.PhiForCausalLM, _DECODER | {"partial_rotary_factor": 0.5}),
    "bert": ("encoder", tf.BertConfig, tf.BertForMaskedLM, _ENCODER),
    "roberta": (
        "encoder",
        tf.RobertaConfig,
        tf.RobertaForMaskedLM,
        _ENCODER | {"pad_token_id": 1, "type_vocab_size": 1},
    ),
    "distilbert": (
        "encoder",
        tf.DistilBertConfig,
        tf.DistilBertForMaskedLM,
        {"vocab_size": VOCABULARY, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4, "dropout": 0.0}
        | {"attention_dropout": 0.0, "max_position_embeddings": 256},
    ),
    "modernbert": (
        "encoder",
        tf.ModernBertConfig,
        tf.ModernBertForMaskedLM,
        _ENCODER | {"local_attention": 16, "cls_token_id": 1, "sep_token_id": 2, "reference_compile": False},
    ),
    "electra": ("encoder", tf.ElectraConfig, tf.ElectraForMaskedLM, _ENCODER | {"embedding_size": 16}),
    "albert": ("encoder", tf.AlbertConfig, tf.AlbertForMaskedLM, _ENCODER | {"embedding_size": 16}),
    "mpnet": ("encoder", tf.MPNetConfig, tf.MPNetForMaskedLM, _ENCODER | {"pad_token_id": 1}),
    "deberta_v2": ("encoder", tf.DebertaV2Config, tf.DebertaV2ForMaskedLM, _ENCODER),
    "bert_pretraining": ("encoder", tf.BertConfig, tf.BertForPreTraining, _ENCODER),
    "t5": ("encoder_decoder", tf.T5Config, tf.T5ForConditionalGeneration, _T5),
    "t5_untied": ("encoder_decoder", tf.T5Config, tf.T5ForConditionalGeneration, _T5 | {"tie_word_embeddings": False}),
    "bart": (
        "encoder_decoder",
        tf.BartConfig,
        tf.BartForConditionalGeneration,
        _SEQ2SEQ
        | {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
        | {"encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "dropout": 0.0, "max_position_embeddings": 256},
    ),
}


class WideNorm(nn.Module):
    """RMSNorm without transformers' detour through fp32, whose rounding would hide differences, or fake them."""

    def __init__(self, norm: Any, offset: float) -> None:
        super().__init__()
        self.weight = norm.weight
        self.epsilon = getattr(norm, "variance_epsilon", None) or norm.eps
        self.offset = offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (x.pow(2).mean(-1, keepdim=True) + self.epsilon).rsqrt() * (self.offset + self.weight)


def _widen(module: nn.Module) -> None:
    for part in list(module.modules()):
        for name, child in part.named_children():
            if type(child).__name__.endswith("RMSNorm"):
                setattr(part, name, WideNorm(child, 1.0 if type(child).__name__.startswith("Gemma") else 0.0))


def build(name: str, dtype: torch.dtype = torch.float64) -> Family:
    """A random model of the family, all of its matrices wide enough for differences to show."""
    kind, config, model, settings = CHOICES[name]
    torch.manual_seed(0)
    module = model(config(**settings)).to(dtype).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, mean=0.0 if parameter.ndim > 1 else 0.5, std=0.2)
    module.tie_weights()
    if dtype == torch.float64:
        _widen(module)
    return describe(module, kind)


def sequences(lengths: Sequence[int], shared: int, seed: int = 0, labelled: bool = False) -> list[Tokens]:
    """Random sequences that begin with the same `shared` tokens; each also has `lengths[i]` of its own."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, VOCABULARY, (count,), generator=generator).tolist())

    beginning = draw(shared)
    made = [beginning + draw(length) for length in lengths]
    return [Tokens(one, (-100,) * (shared - 1) + one[shared - 1 :] if labelled else None) for one in made]


def plain_states(family: Family, rows: Sequence[Tokens]) -> list[torch.Tensor]:
    """`[T, H]` per sequence: each alone through transformers' own attention."""
    before = family.module.config._attn_implementation
    family.module.set_attn_implementation("sdpa" if family.module._supports_sdpa else "eager")
    outputs = [family.body(input_ids=torch.tensor([one.input_ids])).last_hidden_state[0] for one in rows]
    family.module.set_attn_implementation(before)
    return outputs


def gradients(module: nn.Module) -> dict[str, torch.Tensor]:
    """All gradients by name, taken away from the module."""
    found = {name: value.grad for name, value in module.named_parameters() if value.grad is not None}
    module.zero_grad(set_to_none=True)
    return found
