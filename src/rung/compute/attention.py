"""The one attention seam: transformers' models call it, the plan says what is computed.

Registered under the name `rung` with transformers' attention and mask registries. Inside `running(plan)` the
mask function hands the plan itself to every layer in place of a mask, so it also survives the recomputation of
gradient checkpointing. Outside, both fall back to PyTorch's SDPA: generation with a cache needs nothing new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rung.compute.plan import Group, Plan

NAME = "rung"


@dataclass(eq=False, slots=True)
class Running:
    """A plan on its way through a model, with what its attention calls need, made once for all layers.

    Attributes:
        plan: The layout.
        masks: Per group the SDPA mask `[m, c + m]`, or None.
        prefixes: Layer index to learned keys and values `[heads, p, head_dim]` every row attends to.
    """

    plan: Plan
    masks: list[torch.Tensor | None]
    prefixes: Mapping[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)


_running: ContextVar[Running | None] = ContextVar("rung_running", default=None)


@contextmanager
def running(
    plan: Plan, device: torch.device, prefixes: Mapping[int, tuple[torch.Tensor, torch.Tensor]] | None = None
) -> Iterator[Running]:
    """Run a model's forward pass under a plan."""
    prefixes = prefixes or {}
    virtual = next(iter(prefixes.values()))[0].shape[1] if prefixes else 0
    made: dict[object, torch.Tensor | None] = {}
    masks = [_mask(group, plan.causal, virtual, device, made) for group in plan.groups]
    state = Running(plan, masks, prefixes)
    token = _running.set(state)
    try:
        yield state
    finally:
        _running.reset(token)


def current() -> Running | None:
    """The plan under which the model runs, or None."""
    return _running.get()


def _mask(
    group: Group, causal: bool, virtual: int, device: torch.device, made: dict[object, torch.Tensor | None]
) -> torch.Tensor | None:
    """The mask of a group; equal masks are made once. None where all tokens see all, or plain causal."""
    context = virtual + sum(end - start for start, end in group.context)
    if not causal or group.length == 1 or (group.tree is None and context == 0):
        return None
    key = (group.length, context, None if group.tree is None else group.tree.tobytes())
    if key not in made:
        own = torch.ones(group.length, group.length, dtype=torch.bool).tril()
        if group.tree is not None:
            own = torch.from_numpy(group.tree)
        made[key] = torch.cat([torch.ones(group.length, context, dtype=torch.bool), own], dim=1).to(device)
    return made[key]


def _plan_mask(*args: Any, **kwargs: Any) -> Any:
    state = current()
    return state if state is not None else sdpa_mask(*args, **kwargs)


def _plan_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over a flat layout.

    Args:
        module: The model's attention layer.
        query: `[1, heads, N, head_dim]`.
        key: `[1, kv_heads, N, head_dim]`.
        value: As key.
        attention_mask: The `Running` state, or a mask of transformers outside a plan.
        dropout: Attention dropout probability.
        scaling: Factor on the scores.
        **kwargs: What else the model passes on.

    Returns:
        `[1, N, heads, head_dim]` and None (no attention weights).
    """
    if not isinstance(attention_mask, Running):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    prefix = attention_mask.prefixes.get(getattr(module, "layer_idx", -1))
    outputs = [
        _attend(group, (query[0], key[0], value[0]), mask, prefix, (dropout, scaling, attention_mask.plan.causal))
        for group, mask in zip(attention_mask.plan.groups, attention_mask.masks, strict=True)
    ]
    return torch.cat(outputs).unsqueeze(0), None


def _attend(
    group: Group,
    qkv: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    mask: torch.Tensor | None,
    prefix: tuple[torch.Tensor, torch.Tensor] | None,
    settings: tuple[float, float | None, bool],
) -> torch.Tensor:
    """One group: `[heads, N, d]` in, `[G * m, heads, d]` out."""
    dropout, scaling, causal = settings
    end = group.start + group.count * group.length
    query, key, value = (tensor[:, group.start : end].unflatten(1, (group.count, -1)).transpose(0, 1) for tensor in qkv)
    before = [[part[:, start:stop] for start, stop in group.context] for part in qkv[1:]]
    if prefix is not None:
        before = [[learned, *parts] for learned, parts in zip(prefix, before, strict=True)]
    if before[0]:
        key, value = (
            torch.cat([torch.cat(parts, dim=1).unsqueeze(0).expand(group.count, -1, -1, -1), own], dim=2)
            for parts, own in zip(before, (key, value), strict=True)
        )
    out = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=causal and mask is None and group.length > 1,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out.transpose(1, 2).flatten(0, 1)


AttentionInterface.register(NAME, _plan_attention)
AttentionMaskInterface.register(NAME, _plan_mask)
