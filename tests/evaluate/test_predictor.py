"""Answers by scoring: what a plain forward pass of transformers gives, in any order, one row or many."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers.normalizers import Lowercase
from transformers import AutoModelForCausalLM

from rung.errors import ConfigError
from rung.evaluate.predictor import LocalPredictor
from rung.models.tokenizer import end_of_turn_id, render_chat
from rung.objectives.causal_lm import CausalLM
from rung.objectives.classification import Classification as Head
from rung.run.prepare import adapt
from rung.run.start import open_model
from rung.tasks.classification import Classification, ClassificationConfig
from rung.types import Prediction, Record


def task(*labels: str, **settings: object) -> Classification:
    return ClassificationConfig.model_validate(settings).resolve("text", None, "label", labels, ("text", "label"))


TASK = task("bad", "good", "neither_nor")


def records(count: int) -> list[Record]:
    chance = random.Random(1)
    words = (
        "a joy from start to end",
        "dull plot",
        "poor jokes",
        "free prize",
        "call now",
        "tonight?",
        "warm",
        "played",
    )
    texts = [" ".join(chance.choices(words, k=chance.randint(1, 30))) for _ in range(count)]
    return [Record(str(at), {"text": text, "label": "good"}, f"a.csv:{at + 2}") for at, text in enumerate(texts)]


def predictor(folder: Path, made: Classification = TASK, head: bool = False) -> LocalPredictor:
    opened = open_model(str(folder), {"dtype": "float32", "device": "cpu"})
    objective = Head() if head else None
    adapted = adapt(None, opened, made, objective, 0)
    return LocalPredictor(adapted, opened.loaded.tokenizer, made, objective, 250)


def plain_scores(folder: Path, one: LocalPredictor, rows: list[Record]) -> np.ndarray:
    """`[N, C]` log-likelihood of each answer and its end, one unshared unpadded pass each."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    for row in rows:
        prompt = render_chat(one.tokenizer, TASK.render(row, TASK.prompt).messages, add_generation_prompt=True)
        for choice in TASK.prompt.verbalizer.values():
            answer = [*one.tokenizer.encode(choice, add_special_tokens=False), end_of_turn_id(one.tokenizer)]
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
            found.append(sum(float(logits[len(prompt) - 1 + at, token]) for at, token in enumerate(answer)))
    return np.asarray(found).reshape(len(rows), -1)


def scores(predictions: list[Prediction]) -> np.ndarray:
    return np.asarray([one.scores for one in predictions])


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_scores_are_those_of_a_plain_forward_pass(name: str, tiny_models: dict[str, Path]) -> None:
    one = predictor(tiny_models[name])
    rows = records(30)
    assert np.abs(scores(one.predict(rows)) - plain_scores(tiny_models[name], one, rows)).max() < 5e-5


def test_smollm2_scores_as_plain_transformers_does(smollm2_path: Path) -> None:
    one = predictor(smollm2_path)
    rows = records(16)
    found, wanted = scores(one.predict(rows)), plain_scores(smollm2_path, one, rows)
    assert np.abs(found - wanted).max() < 2e-3
    assert np.array_equal(found.argmax(1), wanted.argmax(1))


@pytest.mark.parametrize(("name", "head"), [("llama", False), ("gpt2", False), ("bert", True), ("llama", True)])
def test_answers_do_not_depend_on_what_is_asked_beside(name: str, head: bool, tiny_models: dict[str, Path]) -> None:
    one = predictor(tiny_models[name], head=head)
    rows = records(60)
    together = one.predict(rows)
    assert [found.id for found in together] == [row.id for row in rows]
    order = random.Random(0).sample(range(60), 60)
    mixed = one.predict([rows[at] for at in order])
    alone = [one.predict([row])[0] for row in rows]
    for other in ([mixed[order.index(at)] for at in range(60)], alone):
        assert [found.label for found in other] == [found.label for found in together]
        assert np.abs(scores(other) - scores(together)).max() < 5e-5
    assert one.predict(rows) == together
    assert one.predict([]) == []


def test_labels_that_are_the_same_tokens_are_refused(tiny_models: dict[str, Path]) -> None:
    made = task("Good", "good")
    one = predictor(tiny_models["llama"], made)
    one.predict(records(2))
    lower = predictor(tiny_models["llama"], made)
    lower.tokenizer.backend_tokenizer.normalizer = Lowercase()
    what = "labels 'Good' and 'good' have answers that are the same tokens to this model: 'Good' and 'good'"
    with pytest.raises(ConfigError) as caught:
        lower.predict(records(2))
    assert caught.value.what == what
    lower.objective = CausalLM()
    with pytest.raises(ConfigError) as caught:
        lower.rows(records(2), made.prompt)
    assert caught.value.what == what


def test_a_request_is_the_prompt_without_an_answer(tiny_models: dict[str, Path]) -> None:
    one = predictor(tiny_models["llama"])
    row = records(1)[0]
    wanted = render_chat(one.tokenizer, TASK.render(row, TASK.prompt).messages, add_generation_prompt=True)
    assert one.request_ids(row, TASK.prompt) == wanted
    longest = max(len(one.answer(label)) for label in TASK.prompt.verbalizer.values())
    assert one.count_tokens(row, TASK.prompt) == len(wanted) + longest
