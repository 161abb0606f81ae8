"""The writing bench: greedy answers of one length to questions of many, which share little more than the template."""

from __future__ import annotations

from typing import Any

from benchmarks.spec import Bench, Peer, Size, Spec

BATCHES = (32, 8)
ROWS, NEW_TOKENS = 32, 64


def benches(size: Size) -> list[Bench]:
    """Against transformers' own `generate`, padded on the left, at its best batch size."""
    args: dict[str, Any] = {
        "data": "gsm8k",
        "dtype": "bfloat16",
        "warmup": size.warmup,
        "rows": 2 if size.smoke else ROWS,
        "held_out": 0,
        "batch": size.batch,
        "new_tokens": 4 if size.smoke else NEW_TOKENS,
    }
    ladder = tuple(
        Spec(
            f"generate.transformers.batch{batch}",
            "hf_writing:write",
            {**args, "batch_size": batch},
            f"bf16, do_sample=False, batches of {batch} rows of like length",
        )
        for batch in (BATCHES[:1] if size.smoke else BATCHES)
    )
    return [
        Bench(
            "generate",
            f"Greedy writing, SmolLM2-135M, {NEW_TOKENS} tokens after each of {ROWS} GSM8K questions, bf16",
            Spec("generate.ours", "ours_writing:write", args),
            (Peer("transformers generate, best batch size", ladder),),
            repeats=size.repeats,
        )
    ]
