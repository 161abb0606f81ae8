from __future__ import annotations

import itertools
import random
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.compute.decode import continued
from rung.compute.sampling import Sampling, drawn
from rung.compute.states import NOTHING

NEW = 12


def prompts(count: int = 6) -> list[list[int]]:
    chance = random.Random(1)
    return [[chance.randrange(3, 61) for _ in range(chance.randint(1, 9))] for _ in range(count)]


def shares(logits: torch.Tensor, sampling: Sampling, draws: int = 4000) -> torch.Tensor:
    """How often each token is drawn."""
    found = drawn(logits.expand(draws, -1), sampling, [random.Random(seed) for seed in range(draws)])
    return torch.bincount(found, minlength=logits.shape[-1]) / draws


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    logits = torch.tensor([2.0, 0.0, 1.0, -3.0])
    expected = (logits / 0.7).softmax(0)
    assert torch.allclose(shares(logits, Sampling((), 0.7)), expected, atol=0.03)


def test_a_nucleus_is_the_likeliest_tokens_that_reach_the_share() -> None:
    logits = torch.tensor([0.1, 0.5, 0.25, 0.15]).log()
    found = shares(logits, Sampling((), 1.0, top_p=0.7))
    assert torch.allclose(found, torch.tensor([0.0, 2 / 3, 1 / 3, 0.0]), atol=0.03)


@settings(deadline=None)
@given(top_p=st.floats(0.05, 0.99), seed=st.integers(0, 50), step=st.sampled_from([1e-4, 1e-2, 1.0]))
def test_draws_are_those_of_the_plain_way_however_wide_the_nucleus(top_p: float, seed: int, step: float) -> None:
    logits = -step * torch.arange(2000).flip(0)[None]
    likely = logits.softmax(-1)[0].flip(0).double().tolist()
    nucleus = list(itertools.takewhile(lambda at: sum(likely[:at]) < top_p, range(len(likely))))
    at = random.Random(seed).random() * sum(likely[: len(nucleus)])
    wanted = next(place for place in nucleus if sum(likely[: place + 1]) > at)
    assert abs(1999 - int(drawn(logits, Sampling((), 1.0, top_p), [random.Random(seed)])) - wanted) <= 1


@pytest.mark.parametrize("name", ["llama", "gemma2", "mistral_short_window"])
def test_a_row_depends_on_its_seed_and_not_on_its_neighbours(name: str, tiny: ModuleType) -> None:
    family, rows = tiny.build(name, torch.float32), prompts()
    seeds = tuple(range(10, 10 + len(rows)))
    with torch.inference_mode():
        together = continued(family, rows, -1, NEW, NOTHING, Sampling(seeds, 1.0, 0.9))
        alone = [
            continued(family, [row], -1, NEW, NOTHING, Sampling((seed,), 1.0, 0.9))[0]
            for row, seed in zip(rows, seeds, strict=True)
        ]
        others = continued(family, rows, -1, NEW, NOTHING, Sampling(tuple(range(len(rows))), 1.0, 0.9))
    assert together == alone
    assert together != others


def test_temperature_zero_is_greedy(tiny: ModuleType) -> None:
    family, rows = tiny.build("llama"), prompts()
    with torch.inference_mode():
        greedy = continued(family, rows, -1, NEW, NOTHING)
        assert continued(family, rows, -1, NEW, NOTHING, Sampling((0,) * len(rows), 0.0)) == greedy


def test_a_row_ends_where_it_has_said_enough(tiny: ModuleType) -> None:
    family, rows = tiny.build("llama"), prompts()
    sampling = Sampling(tuple(range(len(rows))), 1.0)
    with torch.inference_mode():
        whole = continued(family, rows, -1, NEW, NOTHING, sampling)
        enough = Sampling(sampling.seeds, 1.0, enough=lambda ids: len(ids) >= 5)
        found = continued(family, rows, -1, NEW, NOTHING, enough)
    assert [one.ids for one in found] == [one.ids[:5] for one in whole]
    assert all(one.stopped for one in found)
