"""L1 and L2: SmolLM2 in fp32 against a padded batch of transformers and PEFT, for one step and for many."""

from __future__ import annotations

import csv
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from rung.engine.loop import Progress, Schedule, train
from rung.engine.optim import Optimizer, OptimizerConfig
from rung.engine.sources import DatasetSource
from rung.evaluate.predictor import LocalPredictor
from rung.methods.adapted import Adapted
from rung.methods.full import Full
from rung.methods.lora import Lora
from rung.objectives.causal_lm import CausalLM
from rung.run.start import Opened, open_model
from rung.run.train import Learning
from rung.tasks.classification import ClassificationConfig
from rung.types import Batch, Record, Row

MESSAGES = Path(__file__).parents[2] / "examples" / "data" / "sms_spam.tsv"
SETTINGS = {"r": 8, "lora_alpha": 16}
STEPS, BATCH, RATE = 24, 2, 5e-4


def opened(path: Path) -> Opened:
    return open_model(str(path), {"dtype": "float32", "device": "cpu"})


def messages(start: Opened, count: int, longest: int) -> list[Row]:
    """Text messages of at most so many characters, templated and encoded as for training."""
    with MESSAGES.open(encoding="utf-8", newline="") as file:
        read = [line for line in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if len(line[1]) <= longest]
    columns = ("label", "text")
    records = [
        Record(str(at), dict(zip(columns, line, strict=True)), f"sms_spam.tsv:{at}")
        for at, line in enumerate(read[1 : count + 1])
    ]
    task = ClassificationConfig(instruction="Spam?").resolve("text", None, "label", ("ham", "spam"), columns)
    return LocalPredictor(Adapted(start.family), start.loaded.tokenizer, task, CausalLM(), 256).rows(
        records, task.prompt
    )


@pytest.mark.parametrize("method", ["lora", "full"])
def test_one_step_of_smollm2(smollm2_path: Path, plain: ModuleType, method: str) -> None:
    start = opened(smollm2_path)
    batch = Batch(tuple(messages(start, 6, 80)))
    if method == "lora":
        adapted: Adapted = Lora.model_validate(SETTINGS).attach(start.family, None, 0)
        plain.randomise(adapted.own, 0.02)
    else:
        adapted = Full().attach(start.family, None, 0)
    adapted.training(model_dropout=False)
    term = CausalLM().loss(adapted, batch).terms["causal_lm"]
    loss = term.sum / term.count
    loss.backward()
    found = {name: value.grad for name, value in adapted.own.items()}
    other = opened(smollm2_path).family
    model, theirs = plain.in_peft(other, SETTINGS, adapted.own) if method == "lora" else (other.module, None)
    plain.own_attention(other)
    expected = plain.padded_loss(model, batch.sequences)
    expected.backward()
    wanted = {name: value.grad for name, value in theirs.items()} if theirs else named_gradients(model)
    assert set(found) == set(wanted)
    assert abs(loss.item() - expected.item()) <= 1e-5 * expected.item()
    mine, reference = (torch.cat([grads[name].flatten() for name in sorted(wanted)]) for grads in (found, wanted))
    assert float((mine - reference).norm() / reference.norm()) < 1e-4
    assert float(torch.nn.functional.cosine_similarity(mine.double(), reference.double(), dim=0)) > 0.99999


def named_gradients(model: torch.nn.Module) -> dict[str, Any]:
    return {name: value.grad for name, value in model.named_parameters()}


class Losses:
    """Keeps the loss of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def after_step(self, progress: Progress) -> None:
        self.seen.append(progress.loss)


def test_many_steps_of_smollm2(smollm2_path: Path, plain: ModuleType) -> None:
    start = opened(smollm2_path)
    source = DatasetSource(messages(start, STEPS * BATCH, 30), BATCH, 1, 0, False)
    adapted = Lora.model_validate(SETTINGS).attach(start.family, None, 0)
    other = opened(smollm2_path).family
    model, theirs = plain.in_peft(other, SETTINGS, adapted.own)
    losses = Losses()
    optimizer = Optimizer(adapted.trainable, OptimizerConfig(learning_rate=RATE))
    schedule = Schedule(RATE, STEPS, 0, "constant", 1.0, 0)
    train(Learning(adapted, CausalLM(), False), source, optimizer, schedule, Progress(), [losses])
    adam = torch.optim.AdamW(theirs.values(), lr=RATE, weight_decay=0.0)
    for number, found in enumerate(losses.seen):
        expected = plain.padded_loss(model, source.step(number)[0].sequences)
        expected.backward()
        torch.nn.utils.clip_grad_norm_(list(theirs.values()), 1.0)
        adam.step()
        adam.zero_grad()
        assert abs(found - expected.item()) < 1e-3, f"step {number + 1}"
    assert sum(losses.seen[-4:]) < 0.5 * sum(losses.seen[:4])
