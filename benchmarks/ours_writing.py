"""Rung's side of the writing bench."""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.machine import peak_bytes
from benchmarks.rows import load, prompts
from rung.compute.decode import continued
from rung.compute.states import NOTHING
from rung.run import RunConfig
from rung.run.prepare import execution, settle_machine
from rung.run.start import facts_of, open_model

NEVER = -1
"""No token has this id: every answer is as long as it may be."""


def write(args: dict[str, Any]) -> dict[str, Any]:
    """Write after the prompts of the rows: see README.md for what comes back.

    Args:
        args: Those of `rows.load`; `dtype`; `new_tokens` of each answer.
    """
    workload = load(args)
    settings = {"data": {"train": "rows.jsonl"}, "model": workload.model, "method": {"type": "zero_shot"}}
    choices = execution(RunConfig.model_validate({**settings, "precision": args["dtype"]}), facts_of(workload.model))
    settle_machine(choices)
    began = time.perf_counter()
    opened = open_model(workload.model, choices)
    opened.family.module.eval()
    loading = time.perf_counter() - began
    with torch.inference_mode():
        began = time.perf_counter()
        continued(opened.family, prompts(workload.warmup[:2]), NEVER, 2, NOTHING)
        first = time.perf_counter() - began
        began = time.perf_counter()
        found = continued(opened.family, prompts(workload.timed), NEVER, args["new_tokens"], NOTHING)
        seconds = time.perf_counter() - began
    return {
        "rows": len(found),
        "tokens": sum(len(one.ids) for one in found),
        "seconds": seconds,
        "apart": {"load": loading, "first_step": first},
        "peak_bytes": peak_bytes(),
        "settings": {"choices": choices},
        "rows_digest": workload.digest,
        "written": [one.ids for one in found],
    }
