"""Rows encoded together, a thousand at a time and kept in a file, are the rows encoded one by one."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from rung.evaluate import predictor as module
from rung.evaluate.predictor import LocalPredictor
from rung.objectives.causal_lm import CausalLM
from rung.objectives.classification import Classification as Head
from rung.run.prepare import adapt
from rung.run.start import open_model
from rung.tasks.classification import ClassificationConfig
from rung.tasks.fitting import fit
from rung.types import Record, Row

WORDS = (
    "a joy",
    "dull plot",
    "poor jokes",
    "free prize\n",
    "caf\u00e9",
    "\U0001f600",
    "",
    "<|im_end|>",
    "tonight?",
    "[SEP]",
)


def _records(count: int) -> list[Record]:
    chance = random.Random(2)
    return [
        Record(
            str(at),
            {"text": " ".join(chance.choices(WORDS, k=chance.randint(0, 40))), "other": "b" * at, "label": "good"},
            f"a.csv:{at}",
        )
        for at in range(count)
    ]


def _one_by_one(made: LocalPredictor, records: list[Record]) -> list[Row]:
    assert made.objective is not None
    if made.objective.needs_head:
        examples = [made.task.render(record, made.task.prompt) for record in records]
        return [made.objective.encode(example, made.tokenizer, made.max_length) for example in examples]
    longest = max(len(made.answer(answer)) for answer in made.task.prompt.verbalizer.values())
    rows = []
    for record in records:
        fitted = fit(made.task, record, made.task.prompt, made.tokenizer, made.max_length - longest)
        row = made.objective.encode(fitted.example, made.tokenizer, made.max_length)
        rows.append(replace(row, truncated=fitted.cut))
    return rows


@pytest.mark.parametrize("pair", [None, "other"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
def test_together_and_one_by_one(tiny_models: dict[str, Path], name: str, pair: str | None, monkeypatch):
    monkeypatch.setattr(module, "_ENCODED_AT_ONCE", 7)
    config = ClassificationConfig(text="text", text_pair=pair, label="label")
    task = config.resolve("text", pair, "label", ("bad", "good"), ("text", "other", "label"))
    opened = open_model(str(tiny_models[name]), {"dtype": "float32", "device": "cpu"})
    objective = Head() if name == "bert" else CausalLM()
    adapted = adapt(None, opened, task, objective, 0)
    made = LocalPredictor(adapted, opened.loaded.tokenizer, task, objective, 40 if name == "bert" else 120)
    records = _records(30)
    found = made.rows(records, task.prompt)
    assert list(found) == _one_by_one(made, records)
    assert any(row.truncated for row in found)
