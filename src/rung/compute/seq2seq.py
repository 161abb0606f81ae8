"""Encoder-decoders: each distinct source goes through the encoder once, each answer through the decoder behind it.

Both sides are padded batches. Virtual tokens stand before the source, learned keys and values before the answer in the
decoder's own attention; positions are counted after them, as PEFT has both (Lester et al. 2021, arXiv 2104.08691; Li &
Liang 2021, arXiv 2101.00190).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import Cache, DynamicCache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer

from rung.compute.padding import padded
from rung.models.families import Family
from rung.types import Tokens

if TYPE_CHECKING:
    from rung.compute.states import Additions


@dataclass(frozen=True, slots=True)
class Read:
    """Sources as the encoder left them: `[B, S, H]` states and the `[B, S]` mask of their padding."""

    states: torch.Tensor
    mask: torch.Tensor

    def rows(self, places: torch.Tensor) -> Read:
        """Some of them, in any order and as often as named."""
        return Read(self.states[places], self.mask[places])


def read(family: Family, sources: Sequence[tuple[int, ...]], additions: Additions) -> Read:
    """Sources through the encoder.

    Args:
        family: An encoder-decoder.
        sources: Token ids of each; never padded by the caller.
        additions: The virtual tokens stand before every source.
    """
    ids, mask = padded([additions.joined(one) for one in sources], family.embedding.weight.device)
    return Read(family.module.get_encoder()(attention_mask=mask, **additions.inputs(ids)).last_hidden_state, mask)


def answered(
    family: Family, sequences: Sequence[Tokens], positions: Sequence[Sequence[int]], additions: Additions
) -> torch.Tensor:
    """States of the decoder's last layer at the positions asked for.

    Args:
        family: An encoder-decoder.
        sequences: `source_ids` go to the encoder, `input_ids` to the decoder.
        positions: Per sequence the positions wanted of `input_ids`.
        additions: Virtual tokens and learned keys.

    Returns:
        `[P, H]`, sequence by sequence, in the order asked.
    """
    sources = [one.source_ids or () for one in sequences]
    numbers = {source: number for number, source in enumerate(dict.fromkeys(sources))}
    encoded = read(family, list(numbers), additions)
    device = encoded.mask.device
    if len(numbers) < len(sources):
        encoded = encoded.rows(torch.tensor([numbers[source] for source in sources], device=device))
    ids, own = padded([one.input_ids for one in sequences], device)
    # The library builds the cache only where it is to be kept; here it brings the learned keys and keeps nothing.
    hidden = decoded(family, ids, encoded, own, _Standing(additions) if additions.prefixes else None)
    rows = [row for row, wanted in enumerate(positions) for _ in wanted]
    columns = [column for wanted in positions for column in wanted]
    return hidden[torch.tensor(rows, device=device), torch.tensor(columns, device=device)]


def decoded(
    family: Family, ids: torch.Tensor, encoded: Read, own: torch.Tensor | None, cache: Cache | None
) -> torch.Tensor:
    """`[B, T, H]` states of the decoder.

    Args:
        family: An encoder-decoder.
        ids: `[B, T]` what the decoder reads after what the cache holds.
        encoded: The sources.
        own: `[B, T]` mask of the padding in `ids`; None = there is none.
        cache: Keys and values so far, or None.
    """
    known = 0 if cache is None else int(cache.get_seq_length())
    mask = None if own is None else torch.cat([own.new_ones(len(own), known), own], dim=1)
    return family.module.get_decoder()(
        input_ids=ids,
        attention_mask=mask,
        encoder_hidden_states=encoded.states,
        encoder_attention_mask=encoded.mask,
        past_key_values=cache,
        use_cache=isinstance(cache, EncoderDecoderCache) and not isinstance(cache, _Standing),
    ).last_hidden_state


def fresh_cache(family: Family, additions: Additions, rows: int) -> EncoderDecoderCache:
    """A cache for so many answers that are to be written: empty but for the learned keys and values."""
    own, crossed = DynamicCache(), DynamicCache()  # the configuration counts the layers of the encoder
    for layer, (key, value) in sorted(additions.prefixes.items()):
        own.update(key.expand(rows, *key.shape), value.expand(rows, *value.shape), layer)
    return EncoderDecoderCache(own, crossed)


class _Standing(EncoderDecoderCache):
    """Learned keys and values as a cache that keeps nothing: a layer may be run again for its gradient."""

    def __init__(self, additions: Additions) -> None:
        own = [additions.prefixes[layer] for layer in sorted(additions.prefixes)]
        super().__init__(Cache(layers=[_Learned(*one) for one in own]), Cache(layers=[_Passing() for _ in own]))
        self.is_updated = _Never()


class _Learned(DynamicLayer):
    """The learned keys and values `[heads, p, d]` of one layer, before those of every sequence."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values = self.learned = keys.unsqueeze(0), values.unsqueeze(0)
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values to attend to."""
        rows = len(key_states)
        keys, values = (one.expand(rows, -1, -1, -1) for one in self.learned)
        return torch.cat([keys, key_states], dim=2), torch.cat([values, value_states], dim=2)


class _Passing(DynamicLayer):
    """The source's keys and values of one layer, as they come."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What was given."""
        return key_states, value_states


class _Never(dict[int, bool]):
    """No layer has kept the source's keys and values, whatever it says."""

    def __setitem__(self, layer: int, is_kept: bool) -> None:
        pass
