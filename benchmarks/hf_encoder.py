"""Hugging Face's `Trainer` on an encoder classifier: `AutoModelForSequenceClassification`, as its examples use it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from benchmarks.intents import Intents, Text, load
from benchmarks.machine import peak_bytes
from benchmarks.trainers import Clock

SEED = 0
OWN_SETTINGS = ("dtype", "attn_implementation", "trunk_dropout", "sorted")
"""Settings of the model and of the rows' order; all others go to `TrainingArguments`."""


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
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = (_Sorted if settings.get("sorted") else Trainer)(
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


class _Sorted(Trainer):
    """Batches of like length over all rows: better than the Trainer's own, which sorts within 50 batches at most."""

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        assert isinstance(self.train_dataset, list)
        return _ByLength([len(row["input_ids"]) for row in self.train_dataset], self.args.train_batch_size)


class _ByLength:
    """The rows of an epoch, batch by batch; the batches stand in another order in every epoch."""

    def __init__(self, lengths: list[int], batch: int) -> None:
        ordered = sorted(range(len(lengths)), key=lambda at: lengths[at])
        self._batches = [ordered[at : at + batch] for at in range(0, len(ordered), batch)]
        self._generator = torch.Generator().manual_seed(SEED)

    def __len__(self) -> int:
        return sum(len(batch) for batch in self._batches)

    def __iter__(self) -> Iterator[int]:
        *full, last = self._batches
        chosen = [full[at] for at in torch.randperm(len(full), generator=self._generator).tolist()]
        return (row for batch in (*chosen, last) for row in batch)


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
        **{name: value for name, value in settings.items() if name not in OWN_SETTINGS},
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
