"""An encoder learns 77 intents: the rows both sides train on, and this product's side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rung.compute.output import OutputLayer
from rung.engine.loop import Progress, Schedule, train
from rung.engine.optim import Optimizer, OptimizerConfig
from rung.engine.schedule import warmup_count
from rung.engine.sources import DatasetSource
from rung.methods.full import Full
from rung.methods.head_only import HeadOnly
from rung.objectives.classification import Classification
from rung.run import RunConfig
from rung.run.prepare import execution, prepare_data, settle_machine
from rung.run.start import facts_of, open_model
from rung.run.train import Learning
from rung.tasks.base import Task
from rung.types import Row

MODEL = "minilm-l6"
DATA = Path(__file__).parents[1] / "examples" / "data"

RECIPES: dict[str, dict[str, Any]] = {
    "full": {"epochs": 1, "batch_size": 32, "learning_rate": 3e-4, "seed": 0},
    "head_only": {"epochs": 3, "batch_size": 32, "learning_rate": 1e-2, "seed": 0},
}
"""Alike on both sides: a linear schedule, 3 % of warm-up, AdamW without decay, gradients clipped at 1."""


@dataclass(frozen=True, slots=True)
class Intents:
    """Encoded rows of Banking77, and the machine's choices they go with."""

    train: Sequence[Row]
    held_out: Sequence[Row]
    task: Task
    choices: dict[str, Any]


def read_intents(rows: int, held_out: int) -> Intents:
    """The first rows in the order of their hashes, as the product reads, splits and encodes them."""
    config = RunConfig.model_validate(
        {
            "data": {
                "train": str(DATA / "banking77_train.csv"),
                "test": str(DATA / "banking77_test.csv"),
                "max_train_rows": rows,
                "max_test_rows": held_out,
                "near_duplicates": False,
            },
            "task": {"type": "classification", "text": "text", "label": "category"},
            "model": MODEL,
            "method": {"type": "full"},
        }
    )
    choices = execution(config, facts_of(MODEL))
    data, task = prepare_data(config)
    tokenizer = open_model(MODEL, choices).loaded.tokenizer
    encoded = [
        [Classification().encode(task.render(record, task.prompt), tokenizer, choices["max_length"]) for record in part]
        for part in (data.splits.train, data.splits.test)
    ]
    return Intents(encoded[0], encoded[1], task, choices)


def run_rung(intents: Intents, method: str) -> tuple[float, float]:
    """Seconds of training, features included, and the accuracy on the held-out rows."""
    recipe = RECIPES[method]
    settle_machine(intents.choices)
    opened = open_model(MODEL, intents.choices)
    objective = Classification()
    head = OutputLayer(objective.head(intents.task), opened.family.module.config.hidden_size, recipe["seed"])
    adapted = (Full() if method == "full" else HeadOnly()).attach(opened.family, head, recipe["seed"])
    source = DatasetSource(intents.train, recipe["batch_size"], 1, recipe["seed"], False)
    total = source.steps_per_epoch * recipe["epochs"]
    optimizer = Optimizer(adapted.trainable, OptimizerConfig(learning_rate=recipe["learning_rate"]))
    schedule = Schedule(recipe["learning_rate"], total, warmup_count(0.03, total), "linear", 1.0, recipe["seed"])
    began = time.perf_counter()
    adapted.evaluating()
    adapted.prepare([row.sequences[0] for row in intents.train], objective.pooling)
    train(Learning(adapted, objective, True), source, optimizer, schedule, Progress(), [])
    seconds = time.perf_counter() - began
    adapted.evaluating()
    with torch.inference_mode():
        outputs = torch.stack(list(objective.outputs(adapted, intents.held_out)))
    right = sum(int(best) == row.target for best, row in zip(outputs.argmax(dim=1), intents.held_out, strict=True))
    return seconds, right / len(intents.held_out)
