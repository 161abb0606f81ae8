"""Encoder-decoders: what is read, scored and written equals transformers' own, token by token."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rung.compute.decode import continued
from rung.compute.recompute import recompute_layers
from rung.compute.scoring import Question, arrange, plain_scores, scores
from rung.compute.states import NOTHING
from rung.methods.base import WeightMethod
from rung.methods.lora import Lora
from rung.methods.prefix import PrefixTuning
from rung.methods.soft_prompt import SoftPrompt
from rung.models.families import Family
from rung.run.start import open_model
from rung.types import Tokens

NAMES = ["t5", "t5_untied", "bart"]
SOURCES = [(11, 12, 13, 2), (14, 2), (15, 16, 17, 18, 19, 20, 2), (21, 22, 2), (14, 2), (23, 24, 25, 26, 27, 2)]
ANSWERS = ((31, 32, 2), (31, 2), (33, 34, 35, 36, 2), (31, 32, 37, 2))


def build(tiny: ModuleType, name: str) -> Family:
    family = tiny.build(name)
    beside = getattr(family.module, "final_logits_bias", None)
    if beside is not None:
        nn.init.normal_(beside, generator=torch.Generator().manual_seed(4))
    return family


def theirs(family: Family, source: tuple[int, ...], answer: tuple[int, ...]) -> float:
    """The answer's log-probability by transformers' own loss."""
    loss = family.module(input_ids=torch.tensor([source]), labels=torch.tensor([answer])).loss
    return -float(loss) * len(answer)


@pytest.fixture(autouse=True)
def ungraded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Questions are asked without gradients, as everywhere; only the test of gradients has them."""
    with torch.set_grad_enabled("gradients" in request.node.name):
        yield


@pytest.mark.parametrize("name", NAMES)
def test_scores_equal_transformers_loss_summed(tiny: ModuleType, name: str) -> None:
    family = build(tiny, name)
    questions = [Question(source, ANSWERS[: 2 + at % 3]) for at, source in enumerate(SOURCES)]
    found = scores(family, questions)
    wanted = [np.asarray([theirs(family, one.prompt, answer) for answer in one.answers]) for one in questions]
    for mine, plain, other in zip(found, plain_scores(family, questions), wanted, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-10)
        np.testing.assert_allclose(plain, other, rtol=0, atol=1e-10)
    for mine, other in zip(found, reversed(scores(family, questions[::-1])), strict=True):
        assert np.array_equal(mine, other)


def test_batches_are_of_like_length_and_hold_each_question_once(tiny: ModuleType) -> None:
    family = build(tiny, "t5")
    questions = [Question((*range(5, 5 + length), 2), ANSWERS) for length in (*range(40), *range(200, 240))]
    batches, beginning = arrange(family, questions)
    assert beginning == ()
    lengths = [len(one.prompt) for batch in batches for one in batch]
    assert len(batches) > 1
    assert lengths == sorted(len(one.prompt) for one in questions)


@pytest.mark.parametrize("name", NAMES)
def test_each_source_is_read_once(tiny: ModuleType, name: str) -> None:
    family = build(tiny, name)
    read: list[int] = []
    family.module.get_encoder().register_forward_hook(lambda *given: read.append(len(given[2].last_hidden_state)))
    scores(family, [Question(source, ANSWERS) for source in SOURCES])
    assert read == [len(set(SOURCES))]
    read.clear()
    continued(family, SOURCES, 2, 8, NOTHING)
    assert read == [len(SOURCES)]


def by_generate(family: Family, stop: int, limit: int, sources: Any = SOURCES) -> list[list[int]]:
    found = []
    for source in sources:
        ids = family.module.generate(
            input_ids=torch.tensor([source]),
            do_sample=False,
            num_beams=1,
            max_new_tokens=limit,
            eos_token_id=stop,
            forced_eos_token_id=None,
        )[0].tolist()[1:]
        found.append(ids)
    return found


@pytest.mark.parametrize("forced", [None, 7])
@pytest.mark.parametrize("name", NAMES)
def test_greedy_answers_equal_generate(tiny: ModuleType, name: str, forced: int | None) -> None:
    family = build(tiny, name)
    family.module.generation_config.forced_bos_token_id = forced
    # What some rows really write is taken for the end, so that they stop at different steps.
    free = by_generate(family, 2, 12)
    stops = {free[0][3], free[2][5], free[5][11], 2}
    for stop in sorted(stops):
        wanted = by_generate(family, stop, 12)
        found = continued(family, SOURCES, stop, 12, NOTHING)
        for mine, other in zip(found, wanted, strict=True):
            assert mine.ids == (other[:-1] if other[-1] == stop else other)
            assert mine.stopped == (other[-1] == stop)
    assert any(one.stopped for one in continued(family, SOURCES, free[0][3], 12, NOTHING))


METHODS: list[WeightMethod] = [Lora(r=2), SoftPrompt(num_virtual_tokens=3), PrefixTuning(num_virtual_tokens=3)]


@pytest.mark.parametrize("method", METHODS, ids=lambda one: one.name)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_step_by_step_is_what_the_whole_answer_says(
    tiny: ModuleType, name: str, method: WeightMethod
) -> None:
    adapted = method.attach(build(tiny, name), None, 1)
    generator = torch.Generator().manual_seed(2)
    for value in adapted.own.values():
        value.data = value.double() + torch.randn(value.shape, generator=generator).double()
    adapted.evaluating()
    family = adapted.family
    written = [one.ids for one in continued(family, SOURCES, 2, 6, adapted.additions)]
    sequences = [
        Tokens((family.decoder_start, *ids), source_ids=source) for source, ids in zip(SOURCES, written, strict=True)
    ]
    states = adapted.states(sequences, [range(len(ids)) for ids in written])
    likeliest = (states @ family.output.weight.T + (0 if family.output_bias is None else family.output_bias)).argmax(1)
    assert likeliest.tolist() == [token for ids in written for token in ids]


@pytest.mark.parametrize("method", METHODS, ids=lambda one: one.name)
@pytest.mark.parametrize("name", ["t5", "bart"])
def test_recomputed_layers_give_the_same_gradients(tiny: ModuleType, name: str, method: WeightMethod) -> None:
    rows = [
        Tokens((0, *answer[:-1]), answer, source_ids=source) for source, answer in zip(SOURCES, ANSWERS, strict=False)
    ]
    found = []
    for recompute in (False, True):
        adapted = method.attach(build(tiny, name), None, 1)
        with torch.no_grad():
            for value in adapted.own.values():
                value.add_(torch.full_like(value, 0.1))
        if recompute:
            recompute_layers(adapted.family)
        adapted.training(False)
        adapted.logprobs(rows).sum().backward()
        found.append({key: value.grad for key, value in adapted.own.items()})
    assert set(found[0]) == set(found[1])
    for key, value in found[0].items():
        assert value is not None
        assert torch.equal(value, found[1][key]), key


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_layers_are_the_decoders_whatever_the_encoder_has(tiny_models: Any, name: str) -> None:
    family = open_model(str(tiny_models[name]), {"dtype": "float32", "device": "cpu"}).family
    assert len(family.layers()) == 2
    assert len(family.all_layers()) == 5
    assert list(family.layers()) == family.all_layers()[3:]
