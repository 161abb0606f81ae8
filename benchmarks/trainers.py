"""What all trainers of the transformers kind share here: the rows, their order, the clock, and the proof of both."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from benchmarks.held_out import held_out_loss
from benchmarks.machine import peak_bytes
from benchmarks.rows import Encoded, Workload

SEED = 0


class Measured:
    """Mixed into a trainer: a given order of the rows, and what each step was really given."""

    order: Sequence[int] | None = None
    """Indices of the rows in the order they are to come; None = the trainer's own order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.given: list[list[Encoded]] = []
        super().__init__(*args, **kwargs)

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        return super()._get_train_sampler(*args, **kwargs) if self.order is None else list(self.order)  # type: ignore[misc]

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The trainer's own, after noting the batch: its second argument."""
        self.given.append(real_rows(args[1]))
        return super().training_step(*args, **kwargs)  # type: ignore[misc]


class Clock(TrainerCallback):
    """When each step ended, the data of the next one loaded in between."""

    def __init__(self) -> None:
        self._ends: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first step begins."""
        self._ends.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """The weights have moved."""
        self._ends.append(time.perf_counter())

    def steps(self) -> list[float]:
        """Seconds of each step."""
        return [after - before for before, after in zip(self._ends, self._ends[1:], strict=False)]


def dataset(workload: Workload) -> Dataset:
    """All rows, those of the first step before the others, as ids and labels."""
    rows = [*workload.warmup, *workload.timed]
    return Dataset.from_dict(
        {"input_ids": [list(row.ids) for row in rows], "labels": [list(row.labels) for row in rows]}
    )


def order(workload: Workload, grouped: bool) -> list[int]:
    """The first step's rows, then the others by length or as they come."""
    place = {id(row): len(workload.warmup) + at for at, row in enumerate(workload.timed)}
    batches = workload.by_length() if grouped else workload.at_random()
    return [*range(len(workload.warmup)), *(place[id(row)] for batch in batches for row in batch)]


def arguments(workload: Workload, args: dict[str, Any]) -> dict[str, Any]:
    """Training arguments that are the same for every trainer, with the step of the ladder over them."""
    return {
        "output_dir": tempfile.mkdtemp(),
        "use_cpu": True,
        "num_train_epochs": 1,
        "per_device_train_batch_size": workload.batch,
        "learning_rate": args["rate"],
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
        "seed": SEED,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        **args.get("config", {}),
    }


def open_peft(workload: Workload, args: dict[str, Any]) -> tuple[Any, Any]:
    """The model as a trainer would load it, with LoRA in it where asked, and its tokenizer.

    `load` are arguments of `from_pretrained` (without a dtype fp32, TRL's own default); `adapter_fp32` is PEFT's
    `autocast_adapter_dtype`.
    """
    load = {"dtype": "float32", **args.get("load", {})}
    model = AutoModelForCausalLM.from_pretrained(workload.model, local_files_only=True, **load)
    if args["method"]["type"] == "lora":
        rank = args["method"]["r"]
        torch.manual_seed(SEED)
        lora = LoraConfig(r=rank, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, lora, autocast_adapter_dtype=args.get("adapter_fp32", True))
    return model, AutoTokenizer.from_pretrained(workload.model, local_files_only=True)


def finish(trainer: Any, clock: Clock, workload: Workload, apart: dict[str, float], args: dict[str, Any]) -> Any:
    """What a measurement returns once a trainer has trained (see README.md)."""
    peak = peak_bytes()
    same_rows(trainer.given, workload)
    first, *timed = clock.steps()
    tokens = sum(len(row) for batch in trainer.given[1:] for row in batch)
    model = trainer.model.get_base_model() if args["method"]["type"] == "lora" else trainer.model
    return {
        # Packed steps hold other rows than the first step's own: their tokens count as rows of the mean length.
        "rows": tokens / (workload.tokens / len(workload.timed)),
        "tokens": tokens,
        "seconds": sum(timed),
        "steps": len(timed),
        "step_seconds": [first, *timed],
        "apart": {**apart, "first_step": first},
        "peak_bytes": peak,
        "held_out_loss": held_out_loss(model, workload.held_out),
        "settings": {
            "class": type(trainer).__mro__[2].__name__,
            "dtype": str(next(model.parameters()).dtype),
            "trained_dtypes": sorted({str(value.dtype) for value in model.parameters() if value.requires_grad}),
            "optimizer": type(trainer.optimizer).__name__,
            "attention": model.config._attn_implementation,
            "bf16_autocast": trainer.args.bf16,
            "gradient_checkpointing": trainer.args.gradient_checkpointing,
            "threads": torch.get_num_threads(),
        },
        "workload": workload.facts(),
        "rows_digest": workload.digest,
    }


def real_rows(inputs: Any) -> list[Encoded]:
    """The rows in a trainer's batch, without padding, packed ones taken apart."""
    ids, labels = inputs["input_ids"], inputs["labels"]
    if "attention_mask" in inputs:
        kept = [mask.bool() for mask in inputs["attention_mask"]]
        return [_row(one[keep], label[keep]) for one, label, keep in zip(ids, labels, kept, strict=True)]
    starts = (inputs["position_ids"][0] == 0).nonzero().flatten().tolist()
    ends = [*starts[1:], ids.shape[1]]
    return [_row(ids[0, start:end], labels[0, start:end]) for start, end in zip(starts, ends, strict=True)]


def same_rows(given: Iterable[Sequence[Encoded]], workload: Workload) -> None:
    """Every row came exactly once, with our ids and our labels.

    Raises:
        AssertionError: It did not: the comparison would be worth nothing.
    """
    came = sorted((row.ids, row.labels) for batch in given for row in batch)
    wanted = sorted((row.ids, row.labels) for row in (*workload.warmup, *workload.timed))
    assert came == wanted, "the trainer was not given the rows of the bench"


def _row(ids: torch.Tensor, labels: torch.Tensor) -> Encoded:
    return Encoded(tuple(ids.tolist()), tuple(labels.tolist()))
