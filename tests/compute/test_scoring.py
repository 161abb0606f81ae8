"""Answers scored together are what each is alone, and nothing they share is computed twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM

from rung.compute import scoring
from rung.compute.fused import fuse
from rung.compute.scoring import Question, after, arrange, plain_scores, scores
from rung.compute.states import NOTHING, Additions, states
from rung.models.families import Family, describe
from rung.types import Tokens

DECODERS = ("llama", "gpt2", "qwen2", "qwen3", "mistral", "gemma", "phi", "gemma2", "mistral_short_window")
SHARING = DECODERS[:7]


@pytest.fixture(scope="module")
def families(tiny: ModuleType) -> dict[str, Family]:
    """Every decoder, in fp64."""
    return {name: tiny.build(name) for name in DECODERS}


def asked(tiny: ModuleType, rows: int, shared: int = 12, seed: int = 0) -> list[Question]:
    """Questions after one beginning, with prompts of several lengths and answers of one to three tokens."""
    prompts = tiny.sequences([1 + (7 * row) % 11 for row in range(rows)], shared, seed)
    answers = ((7, 2), (8, 2), (9, 7, 2), (9, 8), (9, 7, 3), (11,))
    return [Question(one.input_ids, answers[at % 3 :]) for at, one in enumerate(prompts)]


@contextmanager
def small_batches(monkeypatch: pytest.MonkeyPatch, tokens: int = 40) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "TOKEN_BUDGET", tokens)
        yield


@contextmanager
def counted(family: Family) -> Iterator[dict[str, int]]:
    """Counts tokens that go through the model, forward passes, and states that meet the output layer."""
    seen = {"tokens": 0, "passes": 0, "states": 0}

    def embed(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        seen["tokens"] += inputs[0].numel()
        seen["passes"] += 1

    transform = scoring.logits

    def logits(hidden: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen["states"] += len(hidden)
        return transform(hidden, *rest)

    handle = family.embedding.register_forward_pre_hook(embed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "logits", logits)
        yield seen
    handle.remove()


def worst(found: Sequence[NDArray[np.float64]], wanted: Sequence[NDArray[np.float64]]) -> float:
    return max(float(np.abs(one - other).max()) for one, other in zip(found, wanted, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("name", DECODERS)
def test_in_one_pass_and_in_many_as_each_answer_alone(
    families: dict[str, Family], tiny: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    family, questions = families[name], asked(tiny, 20)
    wanted = plain_scores(family, questions)
    level = 1e-5 if name == "gemma2" else 1e-10  # transformers' soft-capped attention takes its softmax in fp32
    assert worst(scores(family, questions), wanted) < level
    with small_batches(monkeypatch):
        batches, beginning = arrange(family, questions)
        assert len(batches) > 2
        assert len(beginning) == (12 if name in SHARING else 0)
        assert worst(scores(family, questions), wanted) < level


@torch.no_grad()
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_fused_layers_keep_the_beginning_too(tiny: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    family, questions = tiny.build(name), asked(tiny, 20)
    wanted = plain_scores(family, questions)
    assert fuse(family) > 0
    with small_batches(monkeypatch):
        assert len(arrange(family, questions)[1]) == 12
        assert worst(scores(family, questions), wanted) < 1e-10


@torch.no_grad()
def test_the_plain_path_is_what_transformers_gives(families: dict[str, Family], tiny: ModuleType) -> None:
    family, questions = families["llama"], asked(tiny, 4)
    family.module.set_attn_implementation("sdpa")
    wanted = []
    for question in questions:
        sums = []
        for answer in question.answers:
            ids = torch.tensor([question.prompt + answer])
            logs = family.module(input_ids=ids).logits[0].log_softmax(-1)
            places = range(len(question.prompt) - 1, ids.shape[1] - 1)
            sums.append(sum(float(logs[at, ids[0, at + 1]]) for at in places))
        wanted.append(np.asarray(sums))
    assert worst(plain_scores(family, questions), wanted) < 1e-10


@torch.no_grad()
def test_each_token_and_each_state_is_computed_once(
    families: dict[str, Family], tiny: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = families["llama"]
    prompts = [one.input_ids for one in tiny.sequences([6] * 20, 30)]
    questions = [Question(prompt, ((7, 2), (8, 2), (9, 2))) for prompt in prompts]
    with small_batches(monkeypatch), counted(family) as seen:
        batches, _ = arrange(family, questions)
        scores(family, questions)
    # the beginning once in all, each text once, each label's first token once; the last tokens are never read
    assert seen == {"tokens": 30 + 20 * (6 + 3), "passes": 1 + len(batches), "states": 20 * (1 + 3)}
    single = [Question(prompt, ((7,), (8,), (9,))) for prompt in prompts]
    with counted(family) as seen:
        scores(family, single)
    assert seen == {"tokens": 30 + 20 * 6, "passes": 1, "states": 20}


@torch.no_grad()
def test_the_order_and_repeats_make_no_difference(
    families: dict[str, Family], tiny: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    family, questions = families["llama"], asked(tiny, 15)
    order = np.random.Generator(np.random.Philox(3)).permutation(15).tolist()
    with small_batches(monkeypatch):
        found = scores(family, questions)
        mixed = scores(family, [questions[at] for at in order] + questions[:4])
    for place, at in enumerate([*order, 0, 1, 2, 3]):
        assert np.array_equal(mixed[place], found[at])
    assert scores(family, []) == []


@torch.no_grad()
@pytest.mark.parametrize("kind", ["soft prompt", "learned prefix", "both"])
def test_a_cached_beginning_stands_after_what_a_method_adds(
    families: dict[str, Family], tiny: ModuleType, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    family = families["llama"]
    table = torch.cat([family.embedding.weight, draw(3, 32)])
    additions = NOTHING
    if kind != "learned prefix":
        additions = Additions((61, 62, 63), lambda ids: table[ids])
    if kind != "soft prompt":
        additions = replace(additions, prefixes={layer: (draw(2, 5, 8), draw(2, 5, 8)) for layer in range(2)})
    questions = asked(tiny, 20)
    wanted = plain_scores(family, questions, additions)
    assert worst(plain_scores(family, questions), wanted) > 1e-3
    with small_batches(monkeypatch):
        assert worst(scores(family, questions, additions), wanted) < 1e-10


@torch.no_grad()
@pytest.mark.parametrize("name", SHARING)
def test_states_after_a_beginning_are_those_of_the_whole(
    families: dict[str, Family], tiny: ModuleType, name: str
) -> None:
    family = families[name]
    rows = tiny.sequences([3, 9, 5], 8)
    whole = states(family, rows, [range(8, len(row)) for row in rows])
    rest = [Tokens(row.input_ids[8:]) for row in rows]
    found = states(family, rest, [range(len(row)) for row in rest], after(family, rows[0].input_ids[:8]))
    assert float((found - whole).abs().max()) < 1e-12


def test_questions_that_begin_alike_are_asked_together(families: dict[str, Family], tiny: ModuleType) -> None:
    family = families["llama"]
    first, second = (one.input_ids for one in tiny.sequences([30, 30], 2))
    questions = [
        Question(opening + (20 + number,) * (3 * number + 1), ((7,),))
        for number in range(6)
        for opening in (first, second)
    ]
    batches, _ = arrange(family, questions)
    assert len(batches) == 1
    openings = [one.prompt[:32] for one in batches[0]]
    assert sorted(set(openings), key=openings.index) == sorted({first, second}, key=openings.index)
    assert openings == sorted(openings, key=openings.index)


def test_prompts_that_differ_only_at_the_end_keep_a_token_to_read(
    families: dict[str, Family], tiny: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = families["llama"]
    (long,) = (one.input_ids for one in tiny.sequences([30], 30))
    questions = [Question(long[:end], ((7, 2), (8, 2))) for end in range(30, 60, 3)]
    with small_batches(monkeypatch, 20), torch.no_grad():
        _, beginning = arrange(family, questions)
        assert len(beginning) == 29
        assert worst(scores(family, questions), plain_scores(family, questions)) < 1e-10


IDS = st.integers(3, 8)
ANSWER = st.lists(IDS, min_size=1, max_size=4).map(tuple)


@given(
    beginning=st.lists(IDS, min_size=1, max_size=9).map(tuple),
    rest=st.lists(
        st.tuples(st.lists(IDS, min_size=0, max_size=7).map(tuple), st.lists(ANSWER, min_size=1, max_size=4)),
        min_size=1,
        max_size=8,
    ),
    budget=st.sampled_from([1, 10, 30, 4096]),
    name=st.sampled_from(["llama", "gpt2"]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_tries(
    families: dict[str, Family], beginning: tuple[int, ...], rest: list[Any], budget: int, name: str
) -> None:
    family = families[name]
    questions = [Question(beginning + own, tuple(answers)) for own, answers in rest]
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(scoring, "TOKEN_BUDGET", budget)
        found, wanted = scores(family, questions), plain_scores(family, questions)
    assert worst(found, wanted) < 1e-10
    assert [len(one) for one in found] == [len(one.answers) for one in questions]
    assert all(
        one.argmax() == other.argmax() or np.ptp(other[[one.argmax(), other.argmax()]]) < 1e-12
        for one, other in zip(found, wanted, strict=True)
    )


@torch.inference_mode()
def test_smollm2_in_fp32(smollm2_path: Path, tiny: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    family = describe(AutoModelForCausalLM.from_pretrained(smollm2_path, dtype=torch.float32).eval(), "decoder")
    prompts = [one.input_ids for one in tiny.sequences([5, 9, 7, 5, 12, 8], 40)]
    answers = ((1205, 2), (3311, 2), (905, 410, 2), (77,))
    questions = [Question(prompt, answers) for prompt in prompts]
    wanted = plain_scores(family, questions)
    with small_batches(monkeypatch):
        assert len(arrange(family, questions)[0]) > 2
        found = scores(family, questions)
    tokens = np.asarray([len(answer) for answer in answers])
    assert max(float((np.abs(one - other) / tokens).max()) for one, other in zip(found, wanted, strict=True)) < 1e-4
    assert [one.argmax() for one in found] == [one.argmax() for one in wanted]
