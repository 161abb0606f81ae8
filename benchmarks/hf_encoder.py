"""Hugging Face's `Trainer` on an encoder classifier: `AutoModelForSequenceClassification`, as its examples use it."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.intents import Intents, Text, load
from benchmarks.machine import peak_bytes

SEED = 0
MODEL_SETTINGS = ("dtype", "attn_implementation", "trunk_dropout")
"""Settings of the model; all others go to `TrainingArguments`."""


def train(args: dict[str, Any]) -> dict[str, Any]:
    """Train a classifier: see README.md for what comes back.

    Args:
        args: Those of `intents.load`; `frozen`, whether the trunk is; `settings`, a step of the ladder;
            `untimed_steps`, more than 1 where the first steps compile.
    """
    intents = load(args)
    settings, untimed = args["settings"], args.get("untimed_steps", 1)
    began = time.perf_counter()
    torch.manual_seed(SEED)
    model = _build(intents, args["frozen"], settings)
    loading = time.perf_counter() - began
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=_arguments(intents, settings, folder),
            train_dataset=[_features(text) for text in intents.train],  # pyright: ignore[reportArgumentType]
            data_collator=DataCollatorWithPadding(AutoTokenizer.from_pretrained(intents.model)),
            callbacks=[clock],
        )
        trainer.train()
    peak = peak_bytes()
    steps = clock.steps()
    rows, tokens = intents.timed(untimed)
    return {
        "rows": rows,
        "tokens": tokens,
        "seconds": sum(steps[untimed:]),
        "steps": len(steps) - untimed,
        "step_seconds": steps,
        "apart": {"load": loading, "first_step": sum(steps[:untimed])},
        "peak_bytes": peak,
        **_judged(model, intents),
        "settings": settings,
        "rows_digest": intents.digest,
    }


class _Clock(TrainerCallback):
    """When training began, and when each step was done."""

    def __init__(self) -> None:
        self._marks: list[float] = []

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self._marks.append(time.perf_counter())

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self._marks.append(time.perf_counter())

    def steps(self) -> list[float]:
        """Seconds of each step."""
        return [after - before for before, after in zip(self._marks, self._marks[1:], strict=False)]


def _build(intents: Intents, frozen: bool, settings: dict[str, Any]) -> Any:
    """A linear layer over BERT's pooled first token."""
    dropped = settings.get("trunk_dropout")
    trunk = {} if dropped is None else {"hidden_dropout_prob": dropped, "attention_probs_dropout_prob": dropped}
    model = AutoModelForSequenceClassification.from_pretrained(
        intents.model,
        num_labels=intents.labels,
        dtype=getattr(torch, settings.get("dtype", "float32")),
        attn_implementation=settings.get("attn_implementation", "sdpa"),
        **trunk,
    )
    model.base_model.requires_grad_(not frozen)
    return model


def _arguments(intents: Intents, settings: dict[str, Any], folder: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        use_cpu=True,
        num_train_epochs=intents.epochs,
        per_device_train_batch_size=intents.batch,
        learning_rate=intents.rate,
        lr_scheduler_type="linear",
        warmup_steps=0.03,
        seed=SEED,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **{name: value for name, value in settings.items() if name not in MODEL_SETTINGS},
    )


def _features(text: Text) -> dict[str, Any]:
    return {"input_ids": list(text.ids), "token_type_ids": list(text.types), "labels": text.label}


def _judged(model: Any, intents: Intents) -> dict[str, float]:
    """Loss and accuracy on the held-out rows, one by one: nothing is padded."""
    model.eval()
    with torch.inference_mode():
        logits = torch.cat([model(input_ids=torch.tensor([text.ids])).logits.float() for text in intents.held_out])
    truth = torch.tensor([text.label for text in intents.held_out])
    right = logits.argmax(dim=1) == truth
    return {"held_out_loss": float(cross_entropy(logits, truth)), "accuracy": float(right.float().mean())}
