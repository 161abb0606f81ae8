"""Rung's side of the decoder benches: the one place that calls its engine."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.flops import Shape, training_flops
from benchmarks.held_out import held_out_loss
from benchmarks.machine import peak_bytes
from benchmarks.rows import Encoded, Workload, load
from rung.engine.loop import Progress, Schedule, train
from rung.engine.optim import Optimizer, OptimizerConfig
from rung.engine.sources import DatasetSource
from rung.methods.base import WeightMethod
from rung.models.families import Family, weight_of
from rung.objectives.causal_lm import CausalLM
from rung.run import RunConfig
from rung.run.prepare import execution, settle_machine
from rung.run.start import attach, facts_of, open_model
from rung.run.train import Learning
from rung.types import Batch, Row, Tokens

SEED = 0


def train_decoder(args: dict[str, Any]) -> dict[str, Any]:
    """Train as `rung train` would, on the rows of the bench: see README.md for what comes back.

    Args:
        args: Those of `rows.load`; `method` as in a run's settings; `rate`, the constant learning rate.
    """
    workload = load(args)
    config = RunConfig.model_validate(
        {"data": {"train": "rows.jsonl"}, "model": workload.model, "method": args["method"]}
    )
    method = config.method
    assert isinstance(method, WeightMethod)
    choices = execution(config, facts_of(workload.model))
    settle_machine(choices)
    began = time.perf_counter()
    opened = open_model(workload.model, choices, method.trains_model)
    shape = shape_of(opened.family, args["method"])
    adapted = attach(method, opened, None, SEED)
    loading = time.perf_counter() - began
    source = _WarmedSource(workload)
    optimizer = Optimizer(adapted.trainable, OptimizerConfig(learning_rate=args["rate"]), adapted.precise)
    schedule = Schedule(args["rate"], source.steps_per_epoch, 0, "constant", 1.0, SEED)
    clock = Clock()
    train(Learning(adapted, CausalLM(), False), source, optimizer, schedule, Progress(), [clock])
    peak = peak_bytes()
    adapted.evaluating()
    first, *timed = clock.steps()
    return {
        "rows": len(workload.timed),
        "tokens": workload.tokens,
        "seconds": sum(timed),
        "steps": len(timed),
        "step_seconds": [first, *timed],
        "apart": {"load": loading, "first_step": first},
        "peak_bytes": peak,
        "held_out_loss": held_out_loss(opened.family.module, workload.held_out),
        "flops": training_flops(shape, source.taken[1:]),
        "settings": {"choices": choices, "method": args["method"], "rate": args["rate"]},
        "workload": workload.facts(),
        "rows_digest": workload.digest,
    }


class _WarmedSource:
    """The first step's own rows, then one pass over the others in Rung's order."""

    def __init__(self, workload: Workload) -> None:
        self._first = Batch(tuple(_row(at, one) for at, one in enumerate(workload.warmup)))
        self._rest = DatasetSource(
            [_row(at, one) for at, one in enumerate(workload.timed)], workload.batch, 1, SEED, False
        )
        self.steps_per_epoch = 1 + self._rest.steps_per_epoch
        self.taken: list[list[Encoded]] = []

    def step(self, number: int) -> list[Batch]:
        """The step's one micro-batch."""
        batches = [self._first] if number == 0 else self._rest.step(number - 1)
        sequences = [sequence for batch in batches for sequence in batch.sequences]
        self.taken.append([Encoded(one.input_ids, one.labels or ()) for one in sequences])
        return batches


class Clock:
    """Notes the loop's own count of seconds after every step."""

    def __init__(self) -> None:
        self._seconds: list[float] = [0.0]

    def after_step(self, progress: Progress) -> None:
        """Called by the loop."""
        self._seconds.append(progress.seconds)

    def steps(self) -> list[float]:
        """Seconds of each step."""
        return [after - before for before, after in zip(self._seconds, self._seconds[1:], strict=False)]


def _row(at: int, one: Encoded) -> Row:
    return Row(str(at), (Tokens(one.ids, one.labels),))


def shape_of(family: Family, method: dict[str, Any]) -> Shape:
    """What the model costs, taken before anything is put into it."""
    weights = [weight_of(linear).shape for linear in family.linears().values()]
    config = family.module.config
    rank = method.get("r", 0) if method["type"] == "lora" else 0
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(
        body=sum(out * into for out, into in weights),
        head=family.embedding.weight.numel(),
        attention=config.num_hidden_layers * config.num_attention_heads * width,
        lora=rank * sum(out + into for out, into in weights),
        full=method["type"] == "full",
    )
