"""In one batch the gradient of a row's loss with respect to another row's own tokens is zero, to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.compute.states import Additions
from rung.methods.adapted import Adapted
from rung.models.families import Family
from rung.types import Tokens

DECODERS = ["llama", "gpt2", "qwen2", "qwen3", "mistral", "gemma", "phi"]
ENCODERS = ["bert", "roberta", "distilbert", "modernbert"]
COMMON, OWN = range(5, 13), 12
"""Ids of shared beginnings, and how many ids belong to one row alone: four rows fill the vocabulary of 61."""


class Layout(Adapted):
    """A model whose rows share beginnings, or don't."""

    share = True

    @property
    def additions(self) -> Additions:
        return Additions(share=self.share)


@cache
def built(tiny: ModuleType, name: str) -> Family:
    """Each model once: nothing here changes its weights."""
    return tiny.build(name)


def batch(shared: Sequence[int], lengths: Sequence[int]) -> list[Tokens]:
    """Rows of which the first tokens are common (as many as `shared` says) and the others are no other row's."""
    rows = []
    for at, (beginning, length) in enumerate(zip(shared, lengths, strict=True)):
        first = COMMON.stop + OWN * at
        common = tuple(COMMON[number % len(COMMON)] for number in range(beginning))
        rows.append(Tokens(common + tuple(first + number % OWN for number in range(length))))
    return rows


def require_apart(family: Family, share: bool, rows: list[Tokens], asked: int) -> None:
    """The embedding table tells the tokens apart: each row's own ids have rows of the table to themselves."""
    adapted = Layout(family)
    adapted.share = share
    everywhere = [range(len(row)) for row in rows]
    states = adapted.states(rows, everywhere).split([len(row) for row in rows])
    weights = torch.linspace(-1, 1, states[asked].numel(), dtype=states[asked].dtype).sin().view_as(states[asked])
    (states[asked] * weights).sum().backward()
    gradient = family.embedding.weight.grad
    assert gradient is not None
    family.module.zero_grad(set_to_none=True)
    reached = {token for token, row in enumerate(gradient) if bool(row.any())}
    assert reached == set(rows[asked].input_ids)


@pytest.mark.parametrize(
    ("name", "share"), [(name, True) for name in DECODERS + ENCODERS] + [(name, False) for name in DECODERS]
)
@given(
    st.lists(st.sampled_from([0, 3, 4, 9, 40, 200]), min_size=4, max_size=4),
    st.lists(st.integers(1, 12), min_size=2, max_size=4),
    st.integers(0, 1),
)
@settings(deadline=None, max_examples=12, derandomize=True, database=None)
def test_the_gradient_to_another_rows_tokens_is_exactly_zero(
    tiny: ModuleType, name: str, share: bool, shared: list[int], lengths: list[int], asked: int
) -> None:
    require_apart(built(tiny, name), share, batch(shared[: len(lengths)], lengths), asked)
