"""Where the parts of a model are, found by structure: one table for all architectures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

Kind = Literal["decoder", "encoder", "encoder_decoder"]

_RELATIVE_BIAS = frozenset({"t5", "mt5", "umt5", "longt5", "deberta", "deberta-v2", "gemma2", "gpt_neo", "mpnet"})
"""Model types whose attention adds a bias or a soft-cap of its own, or ignores the attention registry."""

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
        """Factor on the final logits (Cohere's `logit_scale`, the inverse of Granite's `logits_scaling`)."""
        config = self.module.config
        return float(getattr(config, "logit_scale", 1.0)) / float(getattr(config, "logits_scaling", 1.0))

    def layers(self) -> nn.ModuleList:
        """The repeated blocks, bottom first (an encoder-decoder's decoder)."""
        stacks = [part for part in self.body.modules() if isinstance(part, nn.ModuleList)]
        repeated = [stack for stack in stacks if len(stack) == self.module.config.num_hidden_layers]
        return repeated[-1] if self.kind == "encoder_decoder" else repeated[0]

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
    flat = kind != "encoder_decoder" and config.model_type not in _RELATIVE_BIAS and module._supports_sdpa
    offset = 0
    for part in module.modules():
        if isinstance(part, nn.Embedding) and part.padding_idx is not None and _counts_from_padding(part, module):
            offset = part.padding_idx + 1
    longest = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 2**31 - 1
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return Family(module, kind, flat, offset, window, int(longest) - offset)


def _counts_from_padding(table: nn.Embedding, module: PreTrainedModel) -> bool:
    """RoBERTa's position table is the one embedding that is neither for words nor for segments."""
    return (
        table is not module.get_input_embeddings()
        and table.num_embeddings == getattr(module.config, "max_position_embeddings", -1)
    )


def weight_of(linear: nn.Module) -> torch.Tensor:
    """`[out, in]` weight of a linear map, whichever way it is stored (GPT-2's `Conv1D` stores `[in, out]`)."""
    weight = linear.weight
    assert isinstance(weight, torch.Tensor)
    return weight.T if isinstance(linear, Conv1D) else weight
