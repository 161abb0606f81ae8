"""The scoring bench: eight fixed shots and a question, four choices scored by their log-probability.

In fp32, where both must choose alike on every item. Timed is what the model computes: neither loading nor tokenising.
"""

from __future__ import annotations

from typing import Any

from benchmarks.arc import content
from benchmarks.spec import Bench, Peer, Size, Spec

BATCHES = (1, 8)
ITEMS, FEW = 16, 4
TIMEOUT = 600


def benches(size: Size) -> list[Bench]:
    """Against lm-eval's Hugging Face backend at its best batch size."""
    args: dict[str, Any] = {"dtype": "float32", "data": content(), "items": 2 if size.smoke else ITEMS}
    few = {**args, "items": 2 if size.smoke else FEW}
    ladder = tuple(
        Spec(
            f"arc_easy.lm_eval.batch{batch}",
            "lm_eval_arc:score",
            {**few, "batch_size": batch},
            f"fp32, batch_size={batch}",
            timeout=TIMEOUT,
        )
        for batch in (BATCHES[:1] if size.smoke else BATCHES)
    )
    return [
        Bench(
            "arc_easy",
            "Label scoring, SmolLM2-135M, ARC-easy, eight fixed shots, four choices, fp32",
            Spec("arc_easy.ours", "ours_arc:score", args),
            (Peer("lm-eval 0.4.13, HF backend, best batch size", ladder, {"items": args["items"]}, 10.0),),
            unit="items/s",
            repeats=size.repeats,
            agree="choices",
        )
    ]
