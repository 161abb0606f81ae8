"""TRL's `SFTTrainer` on the rows of a bench."""

from __future__ import annotations

import time
from typing import Any

import trl
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from benchmarks.rows import load
from benchmarks.trainers import Clock, Measured, arguments, dataset, finish, open_peft, order


class MeasuredSFTTrainer(Measured, SFTTrainer):
    """TRL's trainer, watched."""


def train(args: dict[str, Any]) -> dict[str, Any]:
    """Train with one step of the ladder's settings.

    Args:
        args: Those of `rows.load`; `method` and `rate` as ours; `config`, overrides of `SFTConfig`; `load` and
            `adapter_fp32` as in `trainers.open_peft`; `grouped`, whether batches hold rows of like length;
            `packed`, tokens of a packed row in place of padded batches.
    """
    workload = load(args)
    began = time.perf_counter()
    model, tokenizer = open_peft(workload, args)
    loading = time.perf_counter() - began
    settings = {"max_length": 1024, **arguments(workload, args)}
    packed = args.get("packed")
    if packed:
        per_step = workload.batch * workload.tokens / len(workload.timed)
        settings |= {"packing": True, "packing_strategy": "bfd", "max_length": packed}
        settings |= {"per_device_train_batch_size": max(1, round(per_step / packed))}
    began = time.perf_counter()
    clock = Clock()
    trainer = MeasuredSFTTrainer(
        model=model,
        args=SFTConfig(**settings),
        train_dataset=dataset(workload),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    trainer.order = None if packed else order(workload, args.get("grouped", False))
    apart = {"load": loading, "prepare": time.perf_counter() - began}
    trainer.train()
    result = finish(trainer, clock, workload, apart, args)
    result["settings"] |= {"trl": trl.__version__, "asked": args.get("config", {}), "packed": packed}
    return result
