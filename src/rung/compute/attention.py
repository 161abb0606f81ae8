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

from rung.compute.dense import Call, attend, prepare
from rung.compute.plan import Group, Plan
from rung.compute.tiled import Tiles, attend_tiled, cut, in_tiles
from rung.compute.varlen import Packed, attend_packed, fits, pack

NAME = "rung"


@dataclass(eq=False, slots=True)
class Running:
    """A plan on its way through a model, with what its attention calls need, made once for all layers.

    Attributes:
        plan: The layout.
        prefixes: Layer index to learned keys and values `[heads, p, head_dim]` every row attends to.
        calls: Per numbers of query and key heads, the calls of the groups of short blocks.
        tiles: The same, of the groups of long blocks.
        masks: Per group of long blocks the SDPA mask `[m, c + m]`, or None; where tiles are not for them.
        packed: The layout for a GPU's variable-length kernel, once it is asked for.
    """

    plan: Plan
    prefixes: Mapping[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    calls: dict[tuple[int, int], list[Call]] = field(default_factory=dict)
    tiles: dict[tuple[int, int], list[Tiles]] = field(default_factory=dict)
    masks: dict[int, torch.Tensor | None] = field(default_factory=dict)
    packed: Packed | None = None

    @property
    def learned(self) -> int:
        """Learned keys before all others."""
        return next(iter(self.prefixes.values()))[0].shape[1] if self.prefixes else 0

    def dense(self, heads: tuple[int, int], like: torch.Tensor) -> list[Call]:
        """The calls of the groups of short blocks."""
        if heads not in self.calls:
            self.calls[heads] = [
                prepare(group, self.plan.causal, self.learned, heads, like) for group in self.plan.groups if group.dense
            ]
        return self.calls[heads]

    def tiled(self, heads: tuple[int, int], like: torch.Tensor) -> list[Tiles]:
        """The tiles of the groups of long blocks."""
        if heads not in self.tiles:
            self.tiles[heads] = [
                cut(group, self.plan.causal, self.learned, heads, like) for group in self.plan.groups if not group.dense
            ]
        return self.tiles[heads]

    def pack(self, device: torch.device) -> Packed:
        """The layout for a GPU's variable-length kernel."""
        if self.packed is None:
            self.packed = pack(self.plan, self.learned, device)
        return self.packed

    def mask(self, group: Group, device: torch.device) -> torch.Tensor | None:
        """The mask of a group of long blocks, which are of one shape."""
        if group.start not in self.masks:
            self.masks[group.start] = _mask(group, self.plan.causal, self.learned, device)
        return self.masks[group.start]


_running: ContextVar[Running | None] = ContextVar("rung_running", default=None)


@contextmanager
def running(plan: Plan, prefixes: Mapping[int, tuple[torch.Tensor, torch.Tensor]] | None = None) -> Iterator[Running]:
    """Run a model's forward pass under a plan."""
    state = Running(plan, prefixes or {})
    token = _running.set(state)
    try:
        yield state
    finally:
        _running.reset(token)


def current() -> Running | None:
    """The plan under which the model runs, or None."""
    return _running.get()


def _mask(group: Group, causal: bool, learned: int, device: torch.device) -> torch.Tensor | None:
    """None where all tokens see all, or plain causal."""
    before, tree = learned + group.keys - group.longest, group.trees[0]
    if not causal or group.longest == 1 or (tree is None and before == 0):
        return None
    own = torch.from_numpy(tree) if tree is not None else torch.ones(group.longest, group.longest).tril().bool()
    return torch.cat([torch.ones(group.longest, before, dtype=torch.bool), own], dim=1).to(device)


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
    state = attention_mask
    number = getattr(module, "rung_layer", getattr(module, "layer_idx", -1))
    prefix = state.prefixes.get(number) if isinstance(number, int) else None
    flat = (query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend_plan(state, flat, prefix, scale, dropout).unsqueeze(0), None


def attend_plan(
    state: Running,
    qkv: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    prefix: tuple[torch.Tensor, torch.Tensor] | None,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    """Attention of all of a plan's groups.

    Args:
        state: The plan.
        qkv: `[N, heads, d]` queries, `[N, key heads, d]` keys and values.
        prefix: Learned keys and values `[key heads, p, d]`, or None.
        scale: Factor on the scores.
        dropout: Probability that a weight is dropped.

    Returns:
        `[N, heads, d]`.
    """
    query, key, _ = qkv
    if fits(state.plan, query, dropout):
        return attend_packed(qkv, state.pack(query.device), prefix, (scale, state.plan.causal))
    heads = (query.shape[1], key.shape[1])
    calls = state.dense(heads, query)
    short = attend(qkv, calls, prefix, scale, dropout) if calls else None
    if short is not None and len(calls) == len(state.plan.groups):
        return short
    if in_tiles(query, dropout):
        return attend_tiled(qkv, state.tiled(heads, query), prefix, scale, short)
    outputs = []
    for group in state.plan.groups:
        if group.dense:
            assert short is not None
            outputs.append(short[group.start : group.end])
        else:
            mask = state.mask(group, query.device)
            outputs.append(_attend(group, qkv, mask, prefix, (dropout, scale, state.plan.causal)))
    return torch.cat(outputs)


def _attend(
    group: Group,
    qkv: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    mask: torch.Tensor | None,
    prefix: tuple[torch.Tensor, torch.Tensor] | None,
    settings: tuple[float, float, bool],
) -> torch.Tensor:
    """One group of long blocks through PyTorch's kernel, which never holds their scores: `[G * m, heads, d]`."""
    dropout, scale, causal = settings
    count = len(group.lengths)
    query, key, value = (tensor[group.start : group.end].unflatten(0, (count, -1)).transpose(1, 2) for tensor in qkv)
    before = [[part[start:stop].transpose(0, 1) for start, stop in group.context] for part in qkv[1:]]
    if prefix is not None:
        before = [[learned, *parts] for learned, parts in zip(prefix, before, strict=True)]
    if before[0]:
        key, value = (
            torch.cat([torch.cat(parts, dim=1).unsqueeze(0).expand(count, -1, -1, -1), own], dim=2)
            for parts, own in zip(before, (key, value), strict=True)
        )
    out = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=causal and mask is None and group.longest > 1,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out.transpose(1, 2).flatten(0, 1)


AttentionInterface.register(NAME, _plan_attention)
AttentionMaskInterface.register(NAME, _plan_mask)
