"""Hugging Face's `Trainer` with a loss written by hand: only supervised positions reach the output layer."""

from __future__ import annotations

import time
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from benchmarks.held_out import padded, scored
from benchmarks.rows import Encoded, load
from benchmarks.trainers import Clock, Measured, arguments, dataset, finish, open_peft, order


class MeasuredTrainer(Measured, Trainer):
    """The trainer, watched, with its loss replaced."""

    def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
        """Mean loss of the supervised positions."""
        return scored(causal(model), inputs["input_ids"], inputs["attention_mask"], inputs["labels"]).mean()


def causal(model: Any) -> Any:
    """The transformers model inside PEFT's, or itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def train(args: dict[str, Any]) -> dict[str, Any]:
    """Train with the arguments of `trl_sft.train` (no packing)."""
    workload = load(args)
    began = time.perf_counter()
    model, _ = open_peft(workload, args)
    apart = {"load": time.perf_counter() - began}
    clock = Clock()
    trainer = MeasuredTrainer(
        model=model,
        args=TrainingArguments(**arguments(workload, args), remove_unused_columns=False),
        train_dataset=dataset(workload),
        data_collator=collate,
        callbacks=[clock],
    )
    trainer.order = order(workload, args.get("grouped", False))
    trainer.train()
    return finish(trainer, clock, workload, apart, args)


def collate(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """A padded batch."""
    ids, mask, labels = padded([Encoded(tuple(one["input_ids"]), tuple(one["labels"])) for one in examples])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
