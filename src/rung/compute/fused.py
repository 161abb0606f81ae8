"""Puts the fused cheap layers into a model, wherever it computes just that.

Found by structure and proven by trial: a layer with the parts of a gated block, a root-mean-square norm or rotary
attention is run once on random states both ways, and keeps its own code unless the two agree. So one table of three
serves Llama, Qwen, Mistral and whatever comes with the same parts, and a model that differs in a sign is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface

from rung.compute.attention import NAME, Running, running
from rung.compute.plan import plan_causal
from rung.compute.pointwise import gate, rms_norm, rotate
from rung.models.families import Family

_PROBE = 5
"""States of the trial."""
_GATED = {"gate_proj", "up_proj", "down_proj"}
_ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}

Forward = Callable[..., Any]
"""A bound method: a copy of the layer has its own, which reads the copy's weights."""


def fuse(family: Family) -> int:
    """Give the layers of a model that qualify their fused forward pass.

    Args:
        family: The model; its layers' `forward` is set in place, their parameters and names stay.

    Returns:
        How many layers were fused.
    """
    if family.kind != "decoder" or not family.flat:
        return 0
    before = family.module.config._attn_implementation
    family.module.set_attn_implementation(NAME)
    fused = sum(_fuse(part) for part in family.body.modules())
    family.module.set_attn_implementation(before or "sdpa")
    return fused


def _fuse(part: nn.Module) -> bool:
    parts = {name for name, _ in part.named_children()}
    if type(part).__name__.endswith("RMSNorm") and not parts:
        return _settle(part, _norm(part), _try_plain)
    if parts >= _GATED and _is_silu(getattr(part, "act_fn", None)):
        return _settle(part, _gated(part), _try_plain)
    if parts == _ATTENTION and isinstance(getattr(part, "head_dim", None), int):
        return _settle(part, _attention(part), _try_attention)
    return False


def _settle(part: nn.Module, forward: Forward, trial: Callable[[nn.Module, Forward], torch.Tensor]) -> bool:
    """Set the fused forward pass if it gives what the part's own gives."""
    with torch.no_grad():
        own, ours = trial(part, part.forward), trial(part, forward)
    wide = (own.double(), ours.double())
    agree = own.shape == ours.shape and torch.allclose(*wide, rtol=0.02, atol=0.02 * float(wide[0].abs().max()))
    if agree:
        part.forward = forward
    return agree


def _norm(part: nn.Module) -> Forward:
    eps = float(getattr(part, "variance_epsilon", None) or getattr(part, "eps", None) or 0.0)
    return MethodType(lambda self, x: rms_norm(x, _parameter(self), eps), part)


def _gated(part: Any) -> Forward:
    return MethodType(lambda self, x: self.down_proj(gate(self.gate_proj(x), self.up_proj(x))), part)


def _attention(part: Any) -> Forward:
    def forward(
        self: Any,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: Any = None,
        **kwargs: Any,
    ) -> Any:
        cos, sin = position_embeddings
        keeps = kwargs.get("past_key_values") is not None  # its own code knows how to fill a cache
        if keeps or not isinstance(attention_mask, Running) or cos.shape[-1] != self.head_dim:
            given = {"position_embeddings": position_embeddings, "attention_mask": attention_mask}
            return type(self).forward(self, hidden_states, **given, **kwargs)
        tokens, half = hidden_states.shape[1], self.head_dim // 2
        query, key, value = (
            layer(hidden_states).view(tokens, -1, self.head_dim) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = (rotate(one, cos[0, :, :half], sin[0, :, :half]) for one in (query, key))
        dropout = self.attention_dropout if self.training else 0.0
        heads = [one.transpose(0, 1).unsqueeze(0) for one in (query, key, value)]
        attend = AttentionInterface._global_mapping[NAME]
        out, weights = attend(self, *heads, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs)
        return self.o_proj(out.reshape(1, tokens, -1)), weights

    return MethodType(forward, part)


def _parameter(part: nn.Module) -> torch.Tensor:
    weight = part.weight
    assert isinstance(weight, torch.Tensor)
    return weight


def _states(part: nn.Module, width: int) -> torch.Tensor:
    like = next(part.parameters())
    return torch.randn(1, _PROBE, width, generator=torch.Generator().manual_seed(0)).to(like.device, like.dtype)


def _try_plain(part: nn.Module, forward: Forward) -> torch.Tensor:
    width = (
        _parameter(part).shape[-1] if not list(part.children()) else _parameter(part.get_submodule("up_proj")).shape[1]
    )
    return forward(_states(part, width))


def _try_attention(part: Any, forward: Forward) -> torch.Tensor:
    states = _states(part, part.q_proj.weight.shape[1])
    angles = torch.linspace(0, 3, _PROBE * part.head_dim // 2).view(1, _PROBE, -1).repeat(1, 1, 2).to(states)
    with running(plan_causal([range(_PROBE)])) as plan:
        return forward(states, position_embeddings=(angles.cos(), angles.sin()), attention_mask=plan)[0]


def _is_silu(function: object) -> bool:
    """Transformers has a class of its own for the same function."""
    return isinstance(function, nn.SiLU) or type(function).__name__ == "SiLUActivation"
