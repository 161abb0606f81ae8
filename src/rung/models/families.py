"""Where the parts of a model are, found by structure: one table for all architectures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import gelu
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from rung.errors import ModelError

Kind = Literal["decoder", "encoder", "encoder_decoder"]

_OWN_MASK = frozenset({"doge"})
"""Model types that compute with the attention mask themselves, so that no plan can stand in its place."""

_PLAIN_ATTENTION = frozenset({"full_attention", "sliding_attention"})
"""Layer types whose attention a plan describes; convolutions, recurrences and attention in chunks are none of them."""

LINEAR = (nn.Linear, Conv1D)


@dataclass(frozen=True, slots=True)
class Family:
    """The parts every method and objective may touch.

    Attributes:
        kind: `decoder`, `encoder` or `encoder_decoder`.
        flat: Whether the model runs on the flat, shared-prefix layout; else on padded batches.
        position_offset: What is added to position ids (RoBERTa counts from its padding id + 1).
        window: Sliding window of attention in tokens, or None: longer rows run padded.
        max_length: Longest sequence the positions allow.
    """

    module: PreTrainedModel
    kind: Kind
    flat: bool
    position_offset: int
    window: int | None
    max_length: int

    @property
    def body(self) -> nn.Module:
        """The model without its output layer."""
        return self.module.base_model

    @property
    def embedding(self) -> nn.Embedding:
        """The input embedding table."""
        table = self.module.get_input_embeddings()
        assert isinstance(table, nn.Embedding)
        return table

    @property
    def output(self) -> nn.Module | None:
        """The output layer over the vocabulary, or None (a bare encoder)."""
        return self.module.get_output_embeddings()

    @property
    def softcap(self) -> float | None:
        """Soft-cap of the final logits (Gemma-2), or None."""
        return getattr(self.module.config, "final_logit_softcapping", None)

    @property
    def logit_scale(self) -> float:
        """Factor on the final logits: Cohere's `logit_scale`, the inverse of Granite's `logits_scaling`, T5's width."""
        config = self.module.config
        scale = float(getattr(config, "logit_scale", 1.0)) / float(getattr(config, "logits_scaling", 1.0))
        return scale * config.d_model**-0.5 if _scales_by_width(config) else scale

    @property
    def output_bias(self) -> torch.Tensor | None:
        """`[V]` bias of the final logits, or None; BART's family keeps it beside the output layer."""
        beside = getattr(self.module, "final_logits_bias", None)
        return getattr(self.output, "bias", None) if beside is None else beside[0]

    def transform(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[P, H]` states as the output layer over the vocabulary reads them: encoders have a small layer between."""
        between = _BETWEEN.get(self.module.config.model_type)
        return hidden if between is None or self.kind != "encoder" else between(self.module, hidden)

    def pool(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[N, H]` states of first tokens through BERT's own pooler, which its next-sentence layer reads."""
        pooler = getattr(self.body, "pooler", None)
        assert pooler is not None, "this model has no pooler"
        return pooler(hidden.to(pooler.dense.weight.dtype).unsqueeze(1))

    @property
    def decoder_start(self) -> int:
        """What an encoder-decoder's decoder reads before an answer.

        Raises:
            ModelError: The model does not say.
        """
        start = getattr(self.module.config, "decoder_start_token_id", None)
        if start is None and self.module.generation_config is not None:
            start = self.module.generation_config.decoder_start_token_id
        if not isinstance(start, int):
            raise ModelError("the model's config.json has no decoder_start_token_id", "Add it: T5's is its pad token.")
        return start

    @property
    def forced_start(self) -> tuple[int, ...]:
        """What an encoder-decoder's every written answer begins with (BART's `forced_bos_token_id`), if anything."""
        forced = getattr(self.module.generation_config, "forced_bos_token_id", None)
        return (forced,) if isinstance(forced, int) else ()

    def runs_flat(self, length: int) -> bool:
        """Whether rows of so many tokens, learned ones included, run on the flat layout: its plan knows no window."""
        return self.flat and (self.window is None or length <= self.window)

    def layers(self) -> nn.ModuleList:
        """The repeated blocks, bottom first (an encoder-decoder's decoder)."""
        if self.kind == "encoder_decoder":
            return next(part for part in self.module.get_decoder().modules() if isinstance(part, nn.ModuleList))
        stacks = [part for part in self.body.modules() if isinstance(part, nn.ModuleList)]
        return next(stack for stack in stacks if len(stack) == self.module.config.num_hidden_layers)

    def linears(self) -> dict[str, nn.Module]:
        """Every linear map of the repeated blocks: path in the model to module (PEFT's `all-linear`)."""
        output = self.output
        paths = {part: path for path, part in self.module.named_modules()}
        stacks = [paths[stack] + "." for stack in self._stacks()]
        return {
            path: part
            for path, part in self.module.named_modules()
            if isinstance(part, LINEAR) and part is not output and any(path.startswith(stack) for stack in stacks)
        }

    def all_layers(self) -> list[nn.Module]:
        """The repeated blocks of all stacks, bottom first; an encoder-decoder's encoder before its decoder."""
        paths = {part: path + "." for path, part in self.module.named_modules()}
        stacks = [paths[stack] for stack in self._stacks()]
        # A block may hold a list of its own parts (T5).
        outer = [one for one in stacks if not any(one != other and one.startswith(other) for other in stacks)]
        return [layer for path in outer for layer in self.module.get_submodule(path.removesuffix(".")).children()]

    def _stacks(self) -> list[nn.Module]:
        if self.kind != "encoder_decoder":
            return [self.layers()]
        return [part for part in self.body.modules() if isinstance(part, nn.ModuleList) and len(part) > 0]


def describe(module: PreTrainedModel, kind: Kind) -> Family:
    """Find the parts of a loaded model.

    Args:
        module: The model.
        kind: What it is.

    Returns:
        Its family.
    """
    config = module.config
    flat = kind != "encoder_decoder" and _runs_flat(module)
    offset = 0
    for part in module.modules():
        if isinstance(part, nn.Embedding) and part.padding_idx is not None and _counts_from_padding(part, module):
            offset = part.padding_idx + 1
    longest = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 2**31 - 1
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return Family(module, kind, flat, offset, window, int(longest) - offset)


def _runs_flat(module: PreTrainedModel) -> bool:
    """Whether all of a model's attention goes through the registry and is plain.

    Models that don't say that they go through it add a bias of their own (ALiBi, relative positions) or never ask it;
    those that refuse SDPA have a soft-cap on their scores (Gemma-2) or learned sinks (GPT-OSS).
    """
    config = module.config
    layers = set(getattr(config, "layer_types", None) or ())
    registered = module._supports_attention_backend and module._supports_sdpa
    return registered and layers <= _PLAIN_ATTENTION and config.model_type not in _OWN_MASK


def _counts_from_padding(table: nn.Embedding, module: PreTrainedModel) -> bool:
    """RoBERTa's position table is the one embedding that is neither for words nor for segments."""
    return table is not module.get_input_embeddings() and table.num_embeddings == getattr(
        module.config, "max_position_embeddings", -1
    )


def _scales_by_width(config: PreTrainedConfig) -> bool:
    """T5 says so; mT5's and UMT5's sign is that words are embedded and predicted by one table."""
    if config.model_type == "umt5":
        return bool(config.tie_word_embeddings)
    return bool(getattr(config, "scale_decoder_outputs", False))


def _bert(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    return model.cls.predictions.transform(hidden)


def _roberta(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    return model.lm_head.layer_norm(gelu(model.lm_head.dense(hidden)))


def _distilbert(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    return model.vocab_layer_norm(model.activation(model.vocab_transform(hidden)))


def _modernbert(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    return model.head(hidden)


def _electra(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    return model.generator_predictions(hidden)


def _albert(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    return model.predictions.LayerNorm(model.predictions.activation(model.predictions.dense(hidden)))


_BETWEEN: dict[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    "bert": _bert,
    "ernie": _bert,
    "deberta-v2": _bert,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
    "camembert": _roberta,
    "mpnet": _roberta,
    "distilbert": _distilbert,
    "modernbert": _modernbert,
    "electra": _electra,
    "albert": _albert,
}
"""What stands between body and output layer of encoders with masked language modelling, by model type."""


def shape_of(linear: nn.Module) -> tuple[int, int]:
    """Outputs and inputs of a linear map; a quantised one stores its weight in another shape."""
    if isinstance(linear, nn.Linear):
        return linear.out_features, linear.in_features
    out_features, in_features = weight_of(linear).shape
    return out_features, in_features


def weight_of(linear: nn.Module) -> torch.Tensor:
    """`[out, in]` weight of a linear map, whichever way it is stored (GPT-2's `Conv1D` stores `[in, out]`)."""
    weight = linear.weight
    assert isinstance(weight, torch.Tensor)
    return weight.T if isinstance(linear, Conv1D) else weight
