"""Hugging Face's `Trainer` on an encoder classifier: `AutoModelForSequenceClassification` as its examples use it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from rung.types import Row

GROUPED = {"train_sampling_strategy": "group_by_length"}
AUTOCAST = {**GROUPED, "bf16": True}

LADDER: dict[str, dict[str, Any]] = {
    "defaults": {},
    "by length": GROUPED,
    "by length, bf16 autocast": AUTOCAST,
    "by length, bf16 weights": {**GROUPED, "dtype": "bfloat16"},
    "by length, bf16 autocast, eager attention": {**AUTOCAST, "attn_implementation": "eager"},
    "by length, bf16 autocast, torch.compile": {**AUTOCAST, "torch_compile": True},
}
"""What a user of the Trainer can set, step by step; the first is the Trainer as it comes."""

FROZEN_LADDER: dict[str, dict[str, Any]] = {
    **LADDER,
    "by length, bf16 autocast, trunk without dropout": {**AUTOCAST, "trunk_dropout": 0.0},
    "by length, bf16 weights, trunk without dropout": {**GROUPED, "dtype": "bfloat16", "trunk_dropout": 0.0},
}
"""The same under a frozen trunk, whose dropout can be turned off."""


class Stopwatch(TrainerCallback):
    """The time from the first batch to the last step: setting up is not counted."""

    def __init__(self) -> None:
        self.began = self.seconds = 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Everything is set up."""
        self.began = time.perf_counter()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """The last step is done."""
        self.seconds = time.perf_counter() - self.began


def build(path: str, labels: int, frozen: bool, settings: dict[str, Any]) -> Any:
    """The model: a linear layer over BERT's pooled first token, the trunk frozen or not."""
    dropped = settings.get("trunk_dropout")
    trunk = {} if dropped is None else {"hidden_dropout_prob": dropped, "attention_probs_dropout_prob": dropped}
    model = AutoModelForSequenceClassification.from_pretrained(
        path,
        num_labels=labels,
        dtype=getattr(torch, settings.get("dtype", "float32")),
        attn_implementation=settings.get("attn_implementation", "sdpa"),
        **trunk,
    )
    model.base_model.requires_grad_(not frozen)
    return model


def train(model: Any, path: str, rows: Sequence[Row], recipe: dict[str, Any], settings: dict[str, Any]) -> float:
    """Train, and give the seconds the steps took.

    Args:
        model: What `build` gave.
        path: The model folder, for its tokenizer's padding.
        rows: The encoded rows.
        recipe: `epochs`, `batch_size`, `learning_rate`, `seed`: alike on both sides.
        settings: A step of the ladder; what is not the model's goes to `TrainingArguments`.
    """
    own = {"dtype", "attn_implementation", "trunk_dropout"}
    arguments = TrainingArguments(
        output_dir="out/bench/hf_encoder",
        use_cpu=True,
        num_train_epochs=recipe["epochs"],
        per_device_train_batch_size=recipe["batch_size"],
        learning_rate=recipe["learning_rate"],
        lr_scheduler_type="linear",
        warmup_steps=0.03,
        seed=recipe["seed"],
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **{name: value for name, value in settings.items() if name not in own},
    )
    watch = Stopwatch()
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=[features(row) for row in rows],  # pyright: ignore[reportArgumentType]
        data_collator=DataCollatorWithPadding(AutoTokenizer.from_pretrained(path)),
        callbacks=[watch],
    )
    trainer.train()
    return watch.seconds


def features(row: Row) -> dict[str, Any]:
    """A row as the Trainer takes it: the very ids this product trains on."""
    sequence = row.sequences[0]
    types = sequence.token_type_ids or (0,) * len(sequence)
    return {"input_ids": list(sequence.input_ids), "token_type_ids": list(types), "labels": row.target}


def accuracy(model: Any, rows: Sequence[Row]) -> float:
    """Share of held-out rows it gets right."""
    model.eval()
    right = 0
    with torch.inference_mode():
        for row in rows:
            logits = model(input_ids=torch.tensor([row.sequences[0].input_ids])).logits
            right += int(logits.argmax()) == row.target
    return right / len(rows)
