"""A plain training loop, as someone who knows the costs writes it in an afternoon.

Rows grouped by length and padded, PEFT's LoRA on frozen bf16 weights with fp32 adapters, and only supervised positions
reach the output layer.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.held_out import held_out_loss, padded, scored
from benchmarks.machine import peak_bytes
from benchmarks.rows import load
from benchmarks.trainers import open_peft


def train(args: dict[str, Any]) -> dict[str, Any]:
    """Train with the loop.

    Args:
        args: Those of `rows.load`; `method` and `rate` as ours; `load` as in `trainers.open_peft`.
    """
    workload = load(args)
    began = time.perf_counter()
    model, _ = open_peft(workload, args)
    loading = time.perf_counter() - began
    causal = model.get_base_model() if args["method"]["type"] == "lora" else model
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args["rate"], weight_decay=0.0, fused=True)
    model.train()
    seconds = []
    for batch in [list(workload.warmup), *workload.by_length()]:
        began = time.perf_counter()
        loss = scored(causal, *padded(batch)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - began)
    peak = peak_bytes()
    first, *timed = seconds
    return {
        "rows": len(workload.timed),
        "tokens": workload.tokens,
        "seconds": sum(timed),
        "steps": len(timed),
        "step_seconds": seconds,
        "apart": {"load": loading, "first_step": first},
        "peak_bytes": peak,
        "held_out_loss": held_out_loss(causal, workload.held_out),
        "settings": {
            "dtype": str(next(causal.parameters()).dtype),
            "trained_dtypes": sorted({str(value.dtype) for value in trained}),
            "threads": torch.get_num_threads(),
        },
        "workload": workload.facts(),
        "rows_digest": workload.digest,
    }
