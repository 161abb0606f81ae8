"""Hidden states at chosen positions: the one way a model is run, flat or padded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from rung.compute.attention import NAME, running
from rung.compute.padding import padded
from rung.compute.plan import Plan, plan_bidirectional, plan_causal
from rung.compute.seq2seq import answered
from rung.models.families import Family
from rung.types import IGNORED, Tokens

Embed = Callable[[torch.Tensor], torch.Tensor]
Prefixes = Mapping[int, tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True, slots=True)
class Additions:
    """What a method adds to a forward pass besides edited modules.

    Attributes:
        virtual: Ids put into every sequence, at or above the vocabulary's size (soft prompts).
        after: Tokens of a sequence that stand before them: 0, or 1 behind an encoder's first token.
        embed: `[N]` ids to `[N, H]` embeddings, used when there are virtual ids.
        prefixes: Layer index to learned keys and values (prefix tuning).
        share: Whether equal beginnings are computed once; False is the plain path.
    """

    virtual: tuple[int, ...] = ()
    embed: Embed | None = None
    prefixes: Prefixes = field(default_factory=dict)
    share: bool = True
    after: int = 0

    @property
    def learned(self) -> int:
        """Learned keys (and values) that stand before every sequence."""
        return next(iter(self.prefixes.values()))[0].shape[1] if self.prefixes else 0

    def joined(self, ids: tuple[int, ...], virtual: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A sequence with the virtual ids (or what stands for them) in it."""
        return ids[: self.after] + (self.virtual if virtual is None else virtual) + ids[self.after :]

    def moved(self, positions: Sequence[int]) -> NDArray[np.int64]:
        """Where positions of a sequence are once the virtual ids are in it."""
        wanted = np.asarray(positions, dtype=np.int64)
        return wanted + len(self.virtual) * (wanted >= self.after)

    def inputs(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """`[B, T]` ids, virtual ones among them, as a model takes them: by number, or embedded where it has not all."""
        if self.embed is None:
            return {"input_ids": ids}
        return {"inputs_embeds": self.embed(ids.flatten()).unflatten(0, ids.shape)}


NOTHING = Additions()


def states(
    family: Family,
    sequences: Sequence[Tokens],
    positions: Sequence[Sequence[int]],
    additions: Additions = NOTHING,
) -> torch.Tensor:
    """States of the last layer at the positions asked for.

    Args:
        family: The model.
        sequences: The token sequences; never padded by the caller.
        positions: Per sequence the positions wanted (of the sequence itself, virtual tokens not counted).
        additions: Virtual tokens, prefixes, sharing.

    Returns:
        `[P, H]`, sequence by sequence, in the order asked.
    """
    longest = max(len(sequence) for sequence in sequences) + len(additions.virtual) + additions.learned
    if family.runs_flat(longest):
        family.module.set_attn_implementation(NAME)
        return _flat(family, sequences, positions, additions)
    return padded_states(family, sequences, positions, additions)


def _flat(
    family: Family, sequences: Sequence[Tokens], positions: Sequence[Sequence[int]], additions: Additions
) -> torch.Tensor:
    device = family.embedding.weight.device
    plan = _plan(family, sequences, positions, additions)
    tokens = torch.from_numpy(plan.tokens).to(device).unsqueeze(0)
    # Learned keys take the first positions, as transformers counts tokens after a cache.
    places = torch.from_numpy(plan.positions + family.position_offset + additions.learned)
    inputs = {**additions.inputs(tokens), "position_ids": places.to(device).unsqueeze(0)}
    types = _token_types(plan, sequences, additions)
    if types is not None:
        inputs["token_type_ids"] = types.to(device).unsqueeze(0)
    with running(plan, additions.prefixes):
        hidden = family.body(**inputs, **_no_cache(family)).last_hidden_state[0]
    picked = [
        index[additions.moved(wanted)] for index, wanted in zip(plan.index, positions, strict=True) if len(wanted)
    ]
    return hidden.index_select(0, torch.from_numpy(np.concatenate(picked)).to(device))


def _plan(
    family: Family, sequences: Sequence[Tokens], positions: Sequence[Sequence[int]], additions: Additions
) -> Plan:
    """The layout."""
    adapters = [sequence.adapter for sequence in sequences]
    ids = [sequence.input_ids for sequence in sequences]
    if family.kind == "encoder":
        return plan_bidirectional([additions.joined(one) for one in ids], adapters)
    # A causal state depends on nothing after it: what follows the last wanted position is not computed.
    needed = [one[: max(wanted, default=0) + 1] for one, wanted in zip(ids, positions, strict=True)]
    return plan_causal([additions.joined(one) for one in needed], adapters, additions.share)


def _token_types(plan: Plan, sequences: Sequence[Tokens], additions: Additions) -> torch.Tensor | None:
    if all(sequence.token_type_ids is None for sequence in sequences):
        return None
    types = np.zeros(len(plan.tokens), dtype=np.int64)
    for index, sequence in zip(plan.index, sequences, strict=True):
        if sequence.token_type_ids is not None:
            types[index[additions.moved(range(len(index) - len(additions.virtual)))]] = sequence.token_type_ids
    return torch.from_numpy(types)


def _no_cache(family: Family) -> dict[str, bool]:
    return {} if family.kind == "encoder" else {"use_cache": False}


def padded_states(
    family: Family,
    sequences: Sequence[Tokens],
    positions: Sequence[Sequence[int]],
    additions: Additions = NOTHING,
) -> torch.Tensor:
    """The plain path of `states`: one padded batch through the model as transformers runs it.

    Encoder-decoders always come this way (see `rung.compute.seq2seq`).
    """
    assert all(sequence.adapter is None for sequence in sequences), "adapters are mixed on the flat layout only"
    if family.kind == "encoder_decoder":
        return answered(family, sequences, positions, additions)
    assert not additions.prefixes, "learned keys and values need the flat layout"
    device = family.embedding.weight.device
    ids, mask = padded([additions.joined(sequence.input_ids) for sequence in sequences], device)
    inputs = additions.inputs(ids)
    if any(sequence.token_type_ids is not None for sequence in sequences):
        nothing = (0,) * len(additions.virtual)
        types = [additions.joined(one.token_type_ids or (0,) * len(one), nothing) for one in sequences]
        inputs["token_type_ids"] = padded(types, device)[0]
    hidden = family.body(**inputs, attention_mask=mask, **_no_cache(family)).last_hidden_state
    rows = [row for row, wanted in enumerate(positions) for _ in wanted]
    columns = [column for wanted in positions for column in additions.moved(wanted).tolist()]
    return hidden[torch.tensor(rows, device=device), torch.tensor(columns, device=device)]


def supervised(sequences: Sequence[Tokens], shift: int) -> tuple[list[list[int]], list[int]]:
    """Positions whose states predict a label, and those labels.

    Args:
        sequences: Sequences with labels.
        shift: 1 for causal models (position t - 1 predicts label t), 0 where a position predicts its own label.

    Returns:
        Per sequence the positions, and all labels in the same order.
    """
    positions: list[list[int]] = []
    labels: list[int] = []
    for sequence in sequences:
        assert sequence.labels is not None
        at = [t for t, label in enumerate(sequence.labels) if label != IGNORED and t >= shift]
        positions.append([t - shift for t in at])
        labels.extend(sequence.labels[t] for t in at)
    return positions, labels
