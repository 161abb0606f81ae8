"""Keys and values that are kept: of a flat run of tokens, and of rows that are being written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from rung.compute.attention import NAME, running
from rung.compute.plan import Plan, plan_causal
from rung.compute.states import NOTHING, Additions
from rung.models.families import Family

Pair = tuple[torch.Tensor, torch.Tensor]


class RowKeys(DynamicLayer):
    """A layer's keys and values of some rows, with room for new tokens.

    New ones are written in place; transformers' own layer copies all of them at every token.

    Args:
        keys: `[B, key heads, T, d]`, copied.
        values: As keys.
        room: Tokens that may come.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, room: int) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._end = keys.shape[-2]
        self._kept = tuple(
            part.new_empty((*part.shape[:2], self._end + room, part.shape[-1])) for part in (keys, values)
        )
        for kept, part in zip(self._kept, (keys, values), strict=True):
            kept[:, :, : self._end] = part
        self._show()

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Pair:
        """Take in `[B, key heads, n, d]` of new tokens; gives all there are."""
        start, self._end = self._end, self._end + key_states.shape[-2]
        for kept, part in zip(self._kept, (key_states, value_states), strict=True):
            kept[:, :, start : self._end] = part
        return self._show()

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self._kept = tuple(kept[indices] for kept in self._kept)
        self._show()

    def _show(self) -> Pair:
        keys, values = (kept[:, :, : self._end] for kept in self._kept)
        self.keys, self.values = keys, values
        return keys, values


def flat_keys(family: Family, plan: Plan, additions: Additions = NOTHING) -> tuple[torch.Tensor, list[Pair]]:
    """Run a causal plan; what its tokens come to, in its own order.

    Args:
        family: A decoder that runs flat.
        plan: The layout, virtual ids in it.
        additions: Virtual ids' embeddings, and learned keys and values before every sequence.

    Returns:
        `[N, H]` states of the last layer; per layer `[key heads, N, d]` keys and values, the learned ones not among
        them.
    """
    device = family.embedding.weight.device
    tokens = torch.from_numpy(plan.tokens).to(device).unsqueeze(0)
    places = torch.from_numpy(plan.positions + family.position_offset + additions.learned).to(device).unsqueeze(0)
    cache = DynamicCache()
    family.module.set_attn_implementation(NAME)
    with running(plan, additions.prefixes):
        out = family.body(**additions.inputs(tokens), position_ids=places, past_key_values=cache, use_cache=True)
    assert len(cache.layers) == len(family.layers()), "a layer kept no keys and values"
    found: list[Pair] = []
    for layer in cache.layers:
        assert isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None
        found.append((layer.keys[0], layer.values[0]))
    return out.last_hidden_state[0], found


def row_keys(
    family: Family, prompts: Sequence[tuple[int, ...]], additions: Additions, room: int
) -> tuple[torch.Tensor, Cache]:
    """Read prompts to write after them: what they begin with in common is computed once, and nothing is padded.

    Args:
        family: A decoder that runs flat.
        prompts: Token ids, virtual ones in them.
        additions: What the method adds.
        room: Tokens that may be written after each.

    Returns:
        `[B, H]` states of the prompts' last tokens; their keys and values as rows, the learned ones first, filled up on
        the right with those of some token.
    """
    plan = plan_causal(prompts, share=additions.share)
    hidden, flat = flat_keys(family, plan, additions)
    places = torch.zeros(len(prompts), max(map(len, prompts)), dtype=torch.long)
    for row, index in enumerate(plan.index):
        places[row, : len(index)] = torch.from_numpy(index)
    places = places.to(hidden.device)
    layers: list[Any] = []
    for number in range(len(flat)):
        rows = [part[:, places].transpose(0, 1) for part in flat.pop(0)]
        if number in additions.prefixes:
            learned = [part.expand(len(prompts), *part.shape) for part in additions.prefixes[number]]
            rows = [torch.cat(both, dim=2) for both in zip(learned, rows, strict=True)]
        layers.append(RowKeys(rows[0], rows[1], room))
    last = torch.tensor([int(index[-1]) for index in plan.index], device=hidden.device)
    return hidden[last], Cache(layers=layers)
