"""One point of a growth curve: LoRA steps on rows of random ids, of which no two share anything."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.flops import training_flops
from benchmarks.machine import peak_bytes
from benchmarks.ours import Clock, shape_of
from benchmarks.rows import MODEL, Encoded
from rung.engine.loop import Progress, Schedule, train
from rung.engine.optim import Optimizer, OptimizerConfig
from rung.methods.lora import Lora
from rung.objectives.causal_lm import CausalLM
from rung.run import RunConfig
from rung.run.prepare import execution, settle_machine
from rung.run.start import facts_of, open_model
from rung.run.train import Learning
from rung.types import Batch, Row, Tokens

SEED = 0


def step(args: dict[str, Any]) -> dict[str, Any]:
    """Time some steps and take their peak memory; every position is supervised.

    Args:
        args: `length` of a row in tokens, `batch` rows a step, `steps` timed after a first one that is not.

    Returns:
        What README.md asks for; `median_seconds` of a timed step, `flops_step` its useful arithmetic, `step_bytes` the
        most memory that steps took beyond the loaded model.
    """
    length, batch, count = args["length"], args["batch"], args["steps"]
    settings = {"data": {"train": "rows.csv"}, "model": MODEL, "method": {"type": "lora", "r": 16}}
    choices = execution(RunConfig.model_validate(settings), facts_of(MODEL))
    settle_machine(choices)
    opened = open_model(MODEL, choices)
    shape = shape_of(opened.family, settings["method"])
    adapted = Lora(r=16).attach(opened.family, None, SEED)
    source = _Random(opened.family.embedding.num_embeddings, length, batch)
    clock = Clock()
    before = _forget_peak()
    train(
        Learning(adapted, CausalLM(), False),
        source,
        Optimizer(adapted.trainable, OptimizerConfig(learning_rate=1e-4)),
        Schedule(1e-4, 1 + count, 0, "constant", 1.0, SEED),
        Progress(),
        [clock],
    )
    peak = peak_bytes()
    first, *timed = clock.steps()
    return {
        "rows": batch * count,
        "tokens": batch * length * count,
        "seconds": sum(timed),
        "steps": count,
        "step_seconds": [first, *timed],
        "median_seconds": statistics.median(timed),
        "flops_step": training_flops(shape, [source.encoded(0)])["rows"],
        "apart": {"first_step": first},
        "peak_bytes": peak,
        "step_bytes": peak - before,
        "settings": {"choices": choices, **args},
    }


class _Random:
    """Batches of rows that begin with different ids: nothing is shared."""

    def __init__(self, vocabulary: int, length: int, batch: int) -> None:
        self.shape = (batch, length)
        self.vocabulary = vocabulary
        self.steps_per_epoch = 1

    def encoded(self, number: int) -> list[Encoded]:
        """The rows of a step."""
        ids = torch.randint(self.vocabulary, self.shape, generator=torch.Generator().manual_seed(number))
        ids[:, 0] = torch.arange(self.shape[0])
        return [Encoded(tuple(row), (-100, *row[1:])) for row in ids.tolist()]

    def step(self, number: int) -> list[Batch]:
        """The step's one micro-batch."""
        rows = self.encoded(number)
        return [Batch(tuple(Row(str(at), (Tokens(one.ids, one.labels),)) for at, one in enumerate(rows)))]


def _forget_peak() -> int:
    """Start the peak anew where the system can (Linux), so that loading doesn't hide the steps; the bytes held now."""
    peaks = Path("/proc/self/clear_refs")
    if peaks.exists():
        peaks.write_text("5", encoding="ascii")
    return peak_bytes()
