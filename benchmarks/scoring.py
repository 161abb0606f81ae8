"""The scoring bench: eight fixed shots and a question, four choices scored by their log-probability.

In fp32, where both must choose alike on every item, and in bf16, where a near tie may fall either way. Timed is what
the model computes: neither loading nor tokenising.
"""

from __future__ import annotations

from typing import Any

from benchmarks.arc import content
from benchmarks.spec import Bench, Peer, Size, Spec

BATCHES = (1, 8)
ITEMS = {"float32": 48, "bfloat16": 16}
FEW = 4
TIMEOUT = 600


def benches(size: Size) -> list[Bench]:
    """Against lm-eval's Hugging Face backend at its best batch size."""
    return [
        _bench("arc_fp32", "float32", 1, size),
        _bench("arc_bf16", "bfloat16", size.repeats, size),
    ]


def _bench(name: str, dtype: str, repeats: int, size: Size) -> Bench:
    data = content()
    args: dict[str, Any] = {"dtype": dtype, "data": data, "items": 2 if size.smoke else ITEMS[dtype]}
    few = {**args, "items": 2 if size.smoke else FEW}
    ladder = tuple(
        Spec(
            f"{name}.lm_eval.batch{batch}",
            "lm_eval_arc:score",
            {**few, "batch_size": batch},
            f"{dtype}, batch_size={batch}",
            timeout=TIMEOUT,
        )
        for batch in (BATCHES[:1] if size.smoke else BATCHES)
    )
    return Bench(
        name,
        f"Label scoring, SmolLM2-135M, ARC-easy, eight fixed shots, four choices, {dtype}",
        Spec(f"{name}.ours", "ours_arc:score", args),
        (Peer("lm-eval 0.4.13, HF backend, best batch size", ladder, {"items": args["items"]}, 10.0),),
        unit="items/s",
        repeats=repeats,
        agree="choices" if dtype == "float32" else "",
    )
