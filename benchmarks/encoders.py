"""The encoder benches: MiniLM learns the 77 intents of Banking77, every weight or the output layer alone.

Dropout is the model's own (0.1) on both sides where weights are trained: each side as it comes. Under a frozen trunk
the Trainer drops too unless told not to, which is a step of its ladder; Rung never does. The peer's output layer reads
BERT's pooled first token, Rung's the mean of all tokens: each side's default, so losses and accuracies differ.
"""

from __future__ import annotations

from typing import Any

from benchmarks.spec import Bench, Peer, Size, Spec

RUNG = "ours_encoder:train_encoder"
BF16_TRAINED = "the trained weights are bf16: another dtype class"
GROUPED: dict[str, Any] = {"train_sampling_strategy": "group_by_length"}
SORTED: dict[str, Any] = {"sorted": True}
AUTOCAST: dict[str, Any] = {**SORTED, "bf16": True}
UNDROPPED: dict[str, Any] = {"trunk_dropout": 0.0}
COMPILED: dict[str, Any] = {"untimed_steps": 5, "settings": {**AUTOCAST, "torch_compile": True}}

LADDER: dict[str, tuple[str, dict[str, Any]]] = {
    "defaults": ("0: defaults (fp32, rows in random order, padded to the longest of the batch)", {"settings": {}}),
    "grouped": ("1: grouped by length by the Trainer itself", {"settings": GROUPED}),
    "sorted": ("2: grouped at its best, sorted over all rows", {"settings": SORTED}),
    "autocast": ("3a: as 2, bf16 autocast", {"settings": AUTOCAST}),
    "bf16": ("3b: as 2, bf16 weights", {"settings": {**SORTED, "dtype": "bfloat16"}}),
    "eager": ("4: as 3a, eager attention", {"settings": {**AUTOCAST, "attn_implementation": "eager"}}),
    "compiled": ("5: as 3a, torch.compile (the five steps in which it compiles are not timed)", COMPILED),
}
FROZEN_LADDER = {
    **LADDER,
    "undropped": ("6a: as 3a, no dropout in the trunk", {"settings": {**AUTOCAST, **UNDROPPED}}),
    "bf16_undropped": (
        "6b: as 3b, no dropout in the trunk",
        {"settings": {**SORTED, **UNDROPPED, "dtype": "bfloat16"}},
    ),
}


def benches(size: Size) -> list[Bench]:
    """Full fine-tuning against the Trainer's best and its defaults; the output layer alone against its best."""
    rows = {"rows": 32 if size.smoke else 1024, "held_out": 8 if size.smoke else 500}
    few = {**rows, "rows": 32 if size.smoke else 544}
    batch = 8 if size.smoke else 32
    full = {"batch": batch, "epochs": 1, "rate": 3e-4}
    head = {"batch": batch, "epochs": 3, "rate": 1e-2}
    trainer = _ladder("encoder_full.hf", LADDER, {**few, **full, "frozen": False})
    frozen = _ladder("encoder_head.hf", FROZEN_LADDER, {**few, **head, "frozen": True})
    return [
        Bench(
            "encoder_full",
            "Full fine-tuning, MiniLM-L6, 1,024 rows of Banking77, batch 32, one pass",
            Spec("encoder_full.ours", RUNG, {**rows, **full, "method": {"type": "full"}}),
            (Peer("HF Trainer, best", trainer, rows, 1.5), Peer("HF Trainer, defaults", trainer[:1], rows, 5.0)),
            repeats=size.repeats,
        ),
        Bench(
            "encoder_head",
            "Output layer alone, MiniLM-L6, 1,024 rows of Banking77, batch 32, three passes",
            Spec("encoder_head.ours", RUNG, {**rows, **head, "method": {"type": "head_only"}}),
            (Peer("HF Trainer, frozen trunk, best", frozen, rows, 5.0),),
            repeats=size.repeats,
        ),
    ]


def _ladder(name: str, steps: dict[str, tuple[str, dict[str, Any]]], args: dict[str, Any]) -> tuple[Spec, ...]:
    return tuple(
        Spec(
            f"{name}.{step}",
            "hf_encoder:train",
            {**args, **settings},
            note,
            timeout=180,
            excluded="" if args["frozen"] or step != "bf16" else BF16_TRAINED,
        )
        for step, (note, settings) in steps.items()
    )
