"""LoRA on templated text messages: Rung against a hand-written loop, interleaved, in one run.

    make bench        (about five minutes on two cores; prints the table, writes benchmarks/results/lora_sms.json)

Both train SmolLM2-135M-Instruct with LoRA r=16 on all linear maps, on the same rows in batches of 16, AdamW at a
constant rate, frozen weights in bf16 and trained ones in fp32, and only supervised positions reach the output layer.
The peer groups rows by length and pads them; Rung computes the shared instruction once and pads nothing. Each
repetition starts from fresh weights and takes one pass; the held-out loss of both is shown beside the speed.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from rung.compute.head import plain_logprobs
from rung.engine.loop import Progress, Schedule, train
from rung.engine.optim import Optimizer, OptimizerConfig
from rung.engine.sources import DatasetSource
from rung.methods.lora import Lora
from rung.objectives.causal_lm import CausalLM
from rung.run import RunConfig
from rung.run.prepare import execution, prepare_data, settle_machine
from rung.run.start import facts_of, open_model
from rung.run.train import Learning
from rung.tasks.fitting import fit
from rung.types import IGNORED, Batch, Row

MODEL = "smollm2-135m-instruct"
ROOT = Path(__file__).parents[1]
RATE, BATCH, ROWS, HELD_OUT, REPEATS = 5e-4, 16, 128, 64, 3


def main() -> None:
    """Run both, A B A B A B, and print what was seen."""
    config = RunConfig.model_validate(
        {
            "data": {"train": str(ROOT / "examples/data/sms_spam.tsv")},
            "model": MODEL,
            "method": {"type": "lora", "r": 16},
        }
    )
    choices = execution(config, facts_of(MODEL))
    settle_machine(choices)
    rows = encoded(config, choices)
    seen: dict[str, list[tuple[float, float]]] = {"rung": [], "hand-written": []}
    for _ in range(REPEATS):
        for name, run in (("rung", run_rung), ("hand-written", run_by_hand)):
            seen[name].append(run(rows[:ROWS], rows[ROWS:], choices))
            print(f"{name}: {seen[name][-1][0]:.2f} rows/s, held-out loss {seen[name][-1][1]:.4f}", flush=True)
    report(seen)


def encoded(config: RunConfig, choices: dict[str, Any]) -> list[Row]:
    """Training rows as both sides get them."""
    data, task = prepare_data(config)
    tokenizer = open_model(MODEL, choices).loaded.tokenizer
    examples = [
        fit(task, record, task.prompt, tokenizer, 512).example for record in data.splits.train[: ROWS + HELD_OUT]
    ]
    return [CausalLM().encode(example, tokenizer, 1024) for example in examples]


def run_rung(rows: Sequence[Row], held_out: Sequence[Row], choices: dict[str, Any]) -> tuple[float, float]:
    """Rows a second and held-out loss of this product."""
    opened = open_model(MODEL, choices)
    adapted = Lora(r=16).attach(opened.family, None, 0)
    source = DatasetSource(rows, BATCH, 1, 0, False)
    optimizer = Optimizer(adapted.trainable, OptimizerConfig(learning_rate=RATE))
    schedule = Schedule(RATE, source.steps_per_epoch, 0, "constant", 1.0, 0)
    began = time.perf_counter()
    train(Learning(adapted, CausalLM(), False), source, optimizer, schedule, Progress(), [])
    seconds = time.perf_counter() - began
    adapted.evaluating()
    with torch.inference_mode():
        loss = -adapted.logprobs(Batch(tuple(held_out)).sequences).mean()
    return len(rows) / seconds, float(loss)


def run_by_hand(rows: Sequence[Row], held_out: Sequence[Row], choices: dict[str, Any]) -> tuple[float, float]:
    """Rows a second and held-out loss of a plain loop over PEFT."""
    torch.manual_seed(0)
    module = open_model(MODEL, choices).loaded.module
    module.set_attn_implementation("sdpa")
    model: Any = get_peft_model(module, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0, fused=True)
    order = sorted(range(len(rows)), key=lambda at: len(rows[at].sequences[0]))
    batches = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
    batches = [batches[at] for at in torch.randperm(len(batches), generator=torch.Generator().manual_seed(0))]
    began = time.perf_counter()
    for batch in batches:
        loss = padded_loss(model, [rows[at] for at in batch])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    seconds = time.perf_counter() - began
    with torch.inference_mode():
        return len(rows) / seconds, float(padded_loss(model, held_out))


def padded_loss(model: Any, rows: Sequence[Row]) -> torch.Tensor:
    """Mean loss of the supervised positions of a padded batch; only their states reach the output layer."""
    longest = max(len(row.sequences[0]) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for at, row in enumerate(rows):
        sequence = row.sequences[0]
        assert sequence.labels is not None
        ids[at, : len(sequence)] = torch.tensor(sequence.input_ids)
        labels[at, : len(sequence)] = torch.tensor(sequence.labels)
        mask[at, : len(sequence)] = 1
    causal = model.get_base_model()
    hidden = causal.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels[:, 1:] != IGNORED
    return -plain_logprobs(hidden[wanted], causal.lm_head.weight, labels[:, 1:][wanted]).mean()


def report(seen: dict[str, list[tuple[float, float]]]) -> None:
    """Medians, ranges, and the ratio with its spread over the interleaved pairs."""

    def show(values: list[float]) -> str:
        return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"

    speeds = {name: [speed for speed, _ in runs] for name, runs in seen.items()}
    ratios = [ours / theirs for ours, theirs in zip(speeds["rung"], speeds["hand-written"], strict=True)]
    print("\n| | rows/s, median (range) | held-out loss |\n|---|---|---|")
    for name, runs in seen.items():
        print(f"| {name} | {show(speeds[name])} | {statistics.median([loss for _, loss in runs]):.4f} |")
    print(f"| ratio | {show(ratios)} | |")
    folder = ROOT / "benchmarks" / "results"
    folder.mkdir(exist_ok=True)
    (folder / "lora_sms.json").write_text(
        json.dumps({"seen": seen, "ratios": ratios}, indent=2) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
