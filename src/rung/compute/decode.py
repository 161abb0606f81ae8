"""Continuation of many prompts at once, greedy or drawn, with keys and values kept from step to step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers import Cache, DynamicCache

from rung.compute.head import logits
from rung.compute.keys import row_keys
from rung.compute.sampling import Sampling, drawn
from rung.compute.seq2seq import decoded, fresh_cache, read
from rung.compute.states import NOTHING, Additions
from rung.models.families import Family

CACHED_TOKENS = 8192
"""Tokens whose keys and values are held at one time; at least one row."""


@dataclass(slots=True)
class Continuation:
    """What a model wrote after a prompt.

    Attributes:
        ids: The new token ids, without the one that ended them.
        stopped: Whether it ended by itself; False where the limit cut it.
    """

    ids: list[int] = field(default_factory=list)
    stopped: bool = False


def continued(
    family: Family,
    prompts: Sequence[Sequence[int]],
    stop: int,
    max_new_tokens: int,
    additions: Additions,
    sampling: Sampling | None = None,
) -> list[Continuation]:
    """The likeliest next token (or one drawn), again and again, until a row writes `stop` or has `max_new_tokens`.

    Which rows run together is a pure function of the prompts, so the same prompts give the same bytes.

    Args:
        family: The model, a decoder or an encoder-decoder.
        prompts: Token ids of each prompt (what an encoder-decoder's encoder reads); never padded by the caller.
        stop: The id that ends a continuation.
        max_new_tokens: Most ids a continuation may have, the ending one counted.
        additions: What the method adds to a forward pass.
        sampling: How tokens are drawn; None takes the likeliest.

    Returns:
        One continuation per prompt, in their order.
    """
    found: dict[int, Continuation] = {}
    beside = max_new_tokens + len(additions.virtual) + additions.learned
    for batch in _batches(family, prompts, beside):
        own = None if sampling is None else sampling.of(batch)
        writing = _Answering if family.kind == "encoder_decoder" else _Continuing
        written = writing(family, [prompts[row] for row in batch], stop, additions, own).run(max_new_tokens)
        found |= dict(zip(batch, written, strict=True))
    return [found[row] for row in range(len(prompts))]


def _batches(family: Family, prompts: Sequence[Sequence[int]], beside: int) -> list[list[int]]:
    """Rows in order of length, as many together as the cache may hold; each takes so many tokens beside its prompt's.

    Padding must not be seen: a window counts it, and recurrent layers read it. Such models write row by row.
    An encoder-decoder's is masked, and its answers begin together.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), row)):
        length = len(prompts[row]) + beside
        if not batches or not _together(family, length) or (len(batches[-1]) + 1) * length > CACHED_TOKENS:
            batches.append([])
        batches[-1].append(row)
    return batches


def _together(family: Family, length: int) -> bool:
    return family.kind == "encoder_decoder" or family.runs_flat(length)


class _Writing(ABC):
    """A batch under way; rows that have ended leave once they are half of it."""

    def __init__(
        self,
        family: Family,
        prompts: Sequence[Sequence[int]],
        stop: int,
        additions: Additions,
        sampling: Sampling | None,
    ) -> None:
        self.family = family
        self.sampling = sampling
        self.chances = [] if sampling is None else sampling.chances()
        self.stop = stop
        self.additions = additions
        self.device = family.embedding.weight.device
        self.prompts = [tuple(prompt) for prompt in prompts]
        self.written = [Continuation() for _ in prompts]
        self.rows = list(range(len(prompts)))

    @abstractmethod
    def _begin(self, room: int) -> torch.Tensor:
        """`[B, H]` states that predict each row's first token; the prompts' keys and values are kept, with room."""

    @abstractmethod
    def _go_on(self, latest: torch.Tensor, count: int) -> torch.Tensor:
        """`[B, H]` states after the `[B]` tokens written last, the `count`th of each row."""

    @abstractmethod
    def _select(self, places: torch.Tensor) -> None:
        """Keep what belongs to these rows of the batch alone."""

    def run(self, max_new_tokens: int) -> list[Continuation]:
        """Write until every row has ended or is at the limit."""
        latest = self._next(self._begin(max_new_tokens))
        for count in range(1, max_new_tokens + 1):
            self._take(latest.tolist())
            live = [at for at, row in enumerate(self.rows) if not self.written[row].stopped]
            if not live or count == max_new_tokens:
                break
            if 2 * len(live) <= len(self.rows):
                places = torch.tensor(live, device=self.device)
                self.rows = [self.rows[at] for at in live]
                self._select(places)
                latest = latest[places]
            latest = self._next(self._go_on(latest, count))
        return self.written

    def _take(self, ids: Sequence[int]) -> None:
        for row, token in zip(self.rows, ids, strict=True):
            one = self.written[row]
            if token == self.stop:
                one.stopped = True
            elif not one.stopped:
                one.ids.append(token)
                if self.sampling is not None and self.sampling.enough is not None:
                    one.stopped = self.sampling.enough(one.ids)

    def _next(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[B]` ids."""
        output = self.family.output
        assert isinstance(output, nn.Linear), "this model has no output layer over the vocabulary"
        weight, bias = output.weight, self.family.output_bias
        if self.sampling is None or self.sampling.temperature == 0:
            found = hidden @ weight.T  # a soft-cap and a scale leave their order as it is
            return (found if bias is None else found + bias).max(dim=1).indices  # four times as fast as argmax in bf16
        found = logits(hidden, weight, bias, self.family.softcap, self.family.logit_scale)
        return drawn(found, self.sampling, [self.chances[row] for row in self.rows])


class _Continuing(_Writing):
    """A decoder's: rows are padded on the right and positions given, so that no query sees nothing but padding."""

    cache: Cache

    def _begin(self, room: int) -> torch.Tensor:
        prompts = [self.additions.joined(prompt) for prompt in self.prompts]
        self.lengths = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        columns = torch.arange(int(self.lengths.max()), device=self.device)
        own = (columns < self.lengths.unsqueeze(1)).long()
        self.mask = torch.cat([own.new_ones(len(prompts), self.additions.learned), own], dim=1)
        if not _together(self.family, self.mask.shape[1] + room):
            return self._alone(prompts)
        hidden, self.cache = row_keys(self.family, prompts, self.additions, room)
        return hidden

    def _alone(self, prompts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """`[1, H]` state of a prompt's last token, read as transformers reads it.

        So are models off the flat layout, and rows that are longer than a window.
        """
        self.cache = DynamicCache(config=self.family.module.config)
        for layer, (key, value) in sorted(self.additions.prefixes.items()):
            self.cache.update(key.unsqueeze(0), value.unsqueeze(0), layer)
        ids = torch.tensor(prompts, device=self.device)
        positions = torch.arange(ids.shape[1], device=self.device).unsqueeze(0)
        return self._forward(ids, positions, self.additions)[:, -1]

    def _go_on(self, latest: torch.Tensor, count: int) -> torch.Tensor:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.rows), 1)], dim=1)
        return self._forward(latest.unsqueeze(1), (self.lengths + count - 1).unsqueeze(1))[:, -1]

    def _select(self, places: torch.Tensor) -> None:
        self.lengths, self.mask = self.lengths[places], self.mask[places]
        self.cache.batch_select_indices(places)

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor, additions: Additions = NOTHING) -> torch.Tensor:
        """`[B, T, H]` states of new tokens, whose keys and values join the cache; none that is written is virtual."""
        # Models off the flat layout run one row at a time and count positions themselves; some take none.
        given = additions.inputs(ids)
        if self.family.flat:
            given["position_ids"] = positions + self.family.position_offset + self.additions.learned
        return self.family.body(
            attention_mask=self.mask, past_key_values=self.cache, use_cache=True, **given
        ).last_hidden_state


class _Answering(_Writing):
    """An encoder-decoder's: the prompts are read once, and the decoder's rows are all of one length."""

    def run(self, max_new_tokens: int) -> list[Continuation]:
        """Write until every row has ended or is at the limit; what every answer begins with counts."""
        forced = self.family.forced_start
        for one in self.written:
            one.ids += forced
        return super().run(max_new_tokens - len(forced))

    def _begin(self, room: int) -> torch.Tensor:
        rows = len(self.prompts)
        self.encoded = read(self.family, self.prompts, self.additions)
        self.cache = fresh_cache(self.family, self.additions, rows)
        opening = torch.tensor([self.family.decoder_start, *self.family.forced_start], device=self.device)
        return decoded(self.family, opening.expand(rows, -1), self.encoded, None, self.cache)[:, -1]

    def _go_on(self, latest: torch.Tensor, count: int) -> torch.Tensor:
        return decoded(self.family, latest.unsqueeze(1), self.encoded, None, self.cache)[:, -1]

    def _select(self, places: torch.Tensor) -> None:
        self.encoded = self.encoded.rows(places)
        self.cache.batch_select_indices(places)
