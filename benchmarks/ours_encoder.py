"""Rung's side of the encoder benches: the one place that calls its engine on an encoder."""

from __future__ import annotations

import os
import tempfile
import time
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks.intents import Intents, Text, load
from benchmarks.machine import peak_bytes
from benchmarks.ours import Clock
from rung.compute.output import OutputLayer
from rung.engine.loop import Progress, Schedule, train
from rung.engine.optim import Optimizer, OptimizerConfig
from rung.engine.schedule import warmup_count
from rung.engine.sources import DatasetSource
from rung.methods.base import WeightMethod
from rung.models.families import weight_of
from rung.objectives.classification import Classification
from rung.run import RunConfig
from rung.run.prepare import execution, settle_machine
from rung.run.start import attach, facts_of, open_model
from rung.run.train import Learning
from rung.types import HeadSpec, Row, Tokens

SEED = 0


def train_encoder(args: dict[str, Any]) -> dict[str, Any]:
    """Train as `rung train` would: see README.md for what comes back.

    The features of a frozen body are computed within the timed part.

    Args:
        args: Those of `intents.load`; `method` as in a run's settings.
    """
    intents = load(args)
    config = RunConfig.model_validate({"data": {"train": "rows.csv"}, "model": intents.model, "method": args["method"]})
    method = config.method
    assert isinstance(method, WeightMethod)
    choices = execution(config, facts_of(intents.model))
    settle_machine(choices)
    began = time.perf_counter()
    opened = open_model(intents.model, choices, method.trains_model)
    body = sum(weight_of(linear).numel() for linear in opened.family.linears().values())
    objective = Classification()
    spec = HeadSpec("sequence", intents.labels, pooling=objective.pooling)
    adapted = attach(method, opened, OutputLayer(spec, opened.family.module.config.hidden_size, SEED), SEED)
    loading = time.perf_counter() - began
    rows = [_row(at, text) for at, text in enumerate(intents.train)]
    source = DatasetSource(rows, intents.batch, 1, SEED, False)
    total = source.steps_per_epoch * intents.epochs
    optimizer = Optimizer(adapted.trainable, OptimizerConfig(learning_rate=intents.rate), adapted.precise)
    schedule = Schedule(intents.rate, total, warmup_count(0.03, total), "linear", 1.0, SEED)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        # Features that an earlier measurement left in the cache would be found, and nothing computed.
        os.environ["RUNG_CACHE"] = folder
        began = time.perf_counter()
        adapted.evaluating()
        adapted.prepare([row.sequences[0] for row in rows], objective.pooling)
        preparing = time.perf_counter() - began
        train(Learning(adapted, objective, True), source, optimizer, schedule, Progress(), [clock])
        peak = peak_bytes()
    first, *timed = clock.steps()
    count, tokens = intents.timed()
    return {
        "rows": count,
        "tokens": tokens,
        "seconds": preparing + sum(timed),
        "steps": len(timed),
        "step_seconds": [first, *timed],
        "apart": {"load": loading, "first_step": first},
        "features_seconds": preparing,
        "peak_bytes": peak,
        "flops": dict.fromkeys(("distinct", "rows"), _flops(args["method"]["type"], body, tokens, intents.epochs)),
        **_judged(adapted, objective, intents),
        "settings": {"choices": choices, "method": args["method"], "pooling": objective.pooling},
        "rows_digest": intents.digest,
    }


def _row(at: int, text: Text) -> Row:
    return Row(str(at), (Tokens(text.ids, token_type_ids=text.types),), text.label)


def _flops(method: str, body: int, tokens: int, epochs: int) -> float:
    """Useful arithmetic of the linear maps: three products per weight and token; a frozen body runs forward once."""
    return 6.0 * body * tokens if method == "full" else 2.0 * body * tokens / epochs


def _judged(adapted: Any, objective: Classification, intents: Intents) -> dict[str, float]:
    """Loss and accuracy on the held-out rows."""
    adapted.evaluating()
    with torch.inference_mode():
        rows = [_row(at, text) for at, text in enumerate(intents.held_out)]
        logits = torch.stack(list(objective.outputs(adapted, rows))).float()
    truth = torch.tensor([text.label for text in intents.held_out])
    right = logits.argmax(dim=1) == truth
    return {"held_out_loss": float(cross_entropy(logits, truth)), "accuracy": float(right.float().mean())}
