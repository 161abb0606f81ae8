"""Transformers' own greedy `generate` on the writing bench: batches of rows of like length, padded on the left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.machine import peak_bytes
from benchmarks.rows import load, prompts

PAD = 0


def write(args: dict[str, Any]) -> dict[str, Any]:
    """Write after the prompts of the rows: see README.md for what comes back.

    Args:
        args: Those of `rows.load`; `dtype`; `new_tokens` of each answer; `batch_size`.
    """
    workload = load(args)
    began = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(workload.model, dtype=getattr(torch, args["dtype"])).eval()
    loading = time.perf_counter() - began
    began = time.perf_counter()
    _written(model, prompts(workload.warmup[:2]), 2)
    first = time.perf_counter() - began
    asked = prompts(workload.timed)
    order = sorted(range(len(asked)), key=lambda row: len(asked[row]))
    batches = [order[at : at + args["batch_size"]] for at in range(0, len(order), args["batch_size"])]
    found: dict[int, list[int]] = {}
    began = time.perf_counter()
    for batch in batches:
        texts = _written(model, [asked[row] for row in batch], args["new_tokens"])
        found |= dict(zip(batch, texts, strict=True))
    seconds = time.perf_counter() - began
    return {
        "rows": len(found),
        "tokens": sum(map(len, found.values())),
        "seconds": seconds,
        "apart": {"load": loading, "first_step": first},
        "peak_bytes": peak_bytes(),
        "settings": {"dtype": str(model.dtype), "threads": torch.get_num_threads(), "batch_size": args["batch_size"]},
        "rows_digest": workload.digest,
        "written": [found[row] for row in range(len(found))],
    }


def _written(model: Any, rows: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    longest = max(map(len, rows))
    ids = torch.tensor([[PAD] * (longest - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    length = {"min_new_tokens": count, "max_new_tokens": count}
    with torch.inference_mode():
        out = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, pad_token_id=PAD, **length)
    return out[:, longest:].tolist()
