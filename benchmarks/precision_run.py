"""One training of the precision bench: LoRA on short text messages, along one of its paths; run in its own process."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy

from benchmarks.runner import ROOT
from rung.engine.loop import Learner, Progress, Schedule, train
from rung.engine.optim import Optimizer, OptimizerConfig
from rung.engine.schedule import warmup_count
from rung.engine.sources import DatasetSource
from rung.evaluate.predictor import LocalPredictor
from rung.methods.lora import Lora, LoraAdapted
from rung.objectives.causal_lm import CausalLM
from rung.run import RunConfig
from rung.run.prepare import execution, settle_machine
from rung.run.start import facts_of, open_model
from rung.run.train import Learning
from rung.tasks.classification import ClassificationConfig
from rung.types import IGNORED, Batch, Loss, Record, Term

MODEL = "smollm2-135m-instruct"
LONGEST, TEST, SPAM_SHARE = 140, 300, 3
"""Characters of a message; test rows; every so-manieth row is spam (natural shares leave the metric to a few rows)."""
RATE, BATCH, WARMUP = 5e-4, 4, 0.03
COLUMNS, LABELS = ("label", "text"), ("ham", "spam")


def run(args: dict[str, Any]) -> dict[str, Any]:
    """Train for `steps` optimizer steps of four rows.

    Args:
        args: `dtype` of the frozen weights; `seed` of LoRA's start and of the order of rows; `steps`, and `total` of
            the schedule; `accumulation`, micro-batches a step; `padded`, the plain path through transformers and PEFT;
            `test`, rows to predict at the end (0 = none).

    Returns:
        `losses` by step, `rows` and `seconds`; with test rows also `truth` and `predicted` label indices.
    """
    choices = execution(
        RunConfig.model_validate({"data": {"train": "sms.tsv"}, "model": MODEL, "method": {"type": "lora"}}),
        facts_of(MODEL),
    )
    choices |= {"dtype": args["dtype"]}
    settle_machine(choices)
    opened = open_model(MODEL, choices)
    task = ClassificationConfig(instruction="Is it spam or ham?").resolve("text", None, "label", LABELS, COLUMNS)
    adapted = Lora(r=16).attach(opened.family, None, args["seed"])
    predictor = LocalPredictor(adapted, opened.loaded.tokenizer, task, CausalLM(), 256)
    training, test = messages()
    accumulation = args["accumulation"]
    rows = predictor.rows(training, task.prompt)
    source = DatasetSource(rows, BATCH // accumulation, accumulation, args["seed"], False)
    learner, trainable = (
        _plain(adapted) if args["padded"] else (Learning(adapted, CausalLM(), False), adapted.trainable)
    )
    losses = _Losses(args["steps"])
    total = args["total"]
    schedule = Schedule(RATE, total, warmup_count(WARMUP, total), "linear", 1.0, args["seed"])
    optimizer = Optimizer(trainable, OptimizerConfig(learning_rate=RATE))
    progress = train(learner, source, optimizer, schedule, Progress(), [losses])
    found = {"losses": losses.seen, "rows": args["steps"] * BATCH, "seconds": progress.seconds}
    asked = test[: args["test"]]
    if asked:
        predicted = [LABELS.index(one.label) for one in predictor.predict(asked)]
        found |= {"predicted": predicted, "truth": [LABELS.index(one.fields["label"]) for one in asked]}
    return found | {"settings": {"choices": choices, "training_rows": len(rows)}}


def messages() -> tuple[list[Record], list[Record]]:
    """Training and test rows: short messages of the demo's file in its order, every third one spam, none twice."""
    with (ROOT / "examples" / "data" / "sms_spam.tsv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    short = dict.fromkeys((label, text) for label, text in lines if len(text) <= LONGEST)
    spam, ham = (iter([one for one in short if one[0] == label]) for label in ("spam", "ham"))
    mixed: list[Record] = []
    for at in range(len(short)):
        chosen = next(spam if at % SPAM_SHARE == 0 else ham, None)
        if chosen is None:
            break
        mixed.append(Record(str(at), dict(zip(COLUMNS, chosen, strict=True)), f"sms_spam.tsv:{at}"))
    return mixed[TEST:], mixed[:TEST]


@dataclass
class _Losses:
    """The loss of each step; ends the run after so many."""

    steps: int
    seen: list[float] = field(default_factory=list)

    def after_step(self, progress: Progress) -> None:
        self.seen.append(progress.loss)
        progress.stop = progress.step >= self.steps


class _Padded:
    """The plain path: a right-padded batch through transformers with PEFT's LoRA, logits of every position."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return CausalLM().counts(batch)

    def loss(self, batch: Batch) -> Loss:
        longest = max(len(one) for one in batch.sequences)
        ids = torch.zeros(len(batch.sequences), longest, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
        for at, one in enumerate(batch.sequences):
            ids[at, : len(one)], labels[at, : len(one)] = torch.tensor(one.input_ids), torch.tensor(one.labels)
            mask[at, : len(one)] = 1
        logits = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        # Words last: over any other dimension the kernel adds 49,152 terms one by one, which costs five digits.
        single = cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="none")
        losses = single.view(len(ids), -1).sum(dim=1)
        return Loss({"causal_lm": Term(losses.sum(), self.counts(batch)["causal_lm"])}, losses.detach())


def _plain(adapted: LoraAdapted) -> tuple[Learner, dict[str, torch.nn.Parameter]]:
    """PEFT's LoRA with the same start, on a model of its own."""
    start = {name: value.detach().clone() for name, value in adapted.own.items()}
    adapted.merge()  # at its start the added term is zero: this takes the layers out and changes no weight
    family = adapted.family
    family.module.set_attn_implementation("sdpa")
    model = get_peft_model(family.module, LoraConfig(r=16, lora_alpha=32, target_modules=list(family.linears())))
    ours = {
        name.removeprefix("base_model.model.").replace(".default.", "."): value
        for name, value in model.named_parameters()
        if value.requires_grad
    }
    assert set(ours) == set(start)
    with torch.no_grad():
        for name, value in ours.items():
            value.copy_(start[name])
    return _Padded(model), ours
