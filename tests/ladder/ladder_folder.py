"""Writes a ladder folder as runs leave it: three kinds of customer messages, rungs of known accuracy."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rung.evaluate.statistics import bootstrap_interval
from rung.metrics.classification import classification_metrics, label_indices

LABELS = ("billing", "delivery", "praise")
WORDS = {
    "billing": ("I was charged twice", "the invoice shows a wrong amount", "please refund my last payment"),
    "delivery": ("the parcel has not arrived", "the courier left it at the wrong door", "tracking stopped on Monday"),
    "praise": ("thank you for the quick help", "the best shop I know", "your support team is wonderful"),
}


@dataclass(frozen=True)
class Made:
    """A rung to write: `errors` of the test rows, from `first_error` on, are answered wrong."""

    name: str
    model: str | None
    method: str
    errors: int = 0
    first_error: int = 0
    train_seconds: float = 0.0
    request_seconds: float = 0.002
    parameters: int = 0
    status: str = "finished"
    reason: str = ""
    forgetting: dict[str, Any] | None = None
    uncalibrated_errors: int | None = None
    step_seconds: float | None = None
    overfitting: float | None = None
    seeds: tuple[tuple[int, int], ...] = ()
    """Seed and errors of each run, where there are several; each error takes a second more."""

    def run(self, errors: int) -> Made:
        """The rung as it comes out with one of its seeds."""
        return replace(self, errors=errors, train_seconds=self.train_seconds + errors - self.seeds[0][1])


SMOL = "smollm2-135m-instruct"
RUNGS = (
    Made("majority", None, "majority", errors=400, request_seconds=1e-6),
    Made("tfidf", None, "tfidf", errors=84, first_error=6, train_seconds=0.4, request_seconds=4e-5),
    Made("smollm2-135m-instruct zero_shot", SMOL, "zero_shot", 168, 1, 0.0, 0.031, uncalibrated_errors=251),
    Made("smollm2-135m-instruct few_shot", SMOL, "few_shot", 117, 11, 0.0, 0.064, uncalibrated_errors=160),
    Made(
        name="minilm-l6 head_only",
        model="minilm-l6",
        method="head_only",
        errors=38,
        first_error=3,
        train_seconds=6.2,
        request_seconds=0.0041,
        parameters=1155,
    ),
    Made(
        name="smollm2-135m-instruct lora",
        model=SMOL,
        method="lora",
        errors=18,
        first_error=1,
        train_seconds=212.4,
        request_seconds=0.029,
        parameters=4_884_480,
        forgetting={"kind": "loss", "before": 3.31, "after": 3.35, "change": 0.04},
    ),
    Made(
        name="minilm-l6 full",
        model="minilm-l6",
        method="full",
        errors=19,
        first_error=0,
        train_seconds=71.9,
        request_seconds=0.0042,
        parameters=22_713_987,
        forgetting={"kind": "probe", "before": 0.842, "after": 0.827, "change": -0.015},
    ),
    Made(
        name="smollm2-135m-instruct full",
        model=SMOL,
        method="full",
        errors=17,
        first_error=0,
        train_seconds=903.0,
        request_seconds=0.029,
        parameters=134_515_008,
        forgetting={"kind": "loss", "before": 3.31, "after": 3.62, "change": 0.31},
    ),
    Made(
        name="smollm2-135m-instruct soft_prompt",
        model=SMOL,
        method="soft_prompt",
        status="failed",
        reason="out of memory: the system ended the process at 3.9 GB",
    ),
    Made("minilm-l6 lora", "minilm-l6", "lora", status="cut", reason="budget=15m was spent before its turn"),
)


@dataclass(frozen=True)
class LadderFolder:
    """Settings of a ladder folder; `write` makes it."""

    rungs: tuple[Made, ...] = RUNGS
    labels: tuple[str, ...] = LABELS
    rows: int = 600
    text: str = "{words}, order {index}"
    learning_curve: dict[str, Any] | None = None
    sentences: tuple[str, ...] = (
        "messages.csv: 3,012 rows: 2,000 train, 400 validation, 600 test, 12 without a label.",
    )
    config: dict[str, Any] = field(
        default_factory=lambda: {
            "data": {"train": "messages.csv"},
            "task": {"type": "classification", "text": "text", "label": "kind"},
            "methods": ["zero_shot", {"type": "lora", "r": 16}],
            "budget": "15m",
        }
    )

    def write(self, folder: Path) -> Path:
        """Write the folder and return it."""
        test = self.test_rows()
        planned = []
        for order, rung in enumerate(self.rungs):
            place = f"runs/{order:02d}-{rung.method}"
            entry: dict[str, Any] = {"name": rung.name, "model": rung.model, "method": rung.method, "order": order}
            entry |= {"folder": place, "status": rung.status, "reason": rung.reason}
            for seed, errors in rung.seeds:
                inner = f"{place}/seed-{seed}"
                entry.setdefault("seeds", []).append({"seed": seed, "folder": inner, "status": "finished"})
                write_run(folder / inner, rung.run(errors), test, self.labels, seed)
            if rung.status == "finished" and not rung.seeds:
                write_run(folder / place, rung, test, self.labels)
            planned.append(entry)
        ledger = {"messages.csv": {"rows": 3012, "train": 2000, "validation": 400, "test": 600, "missing_label": 12}}
        ladder = {
            "format": 1,
            "config": self.config,
            "rungs": planned,
            "split": {
                "rows": {"train": 2000, "validation": 400, "test": len(test)},
                "ledger": ledger,
                "sentences": list(self.sentences),
            },
            "expected_requests": 10_000,
            "margin": 0.02,
        }
        dump(folder / "ladder.json", ladder)
        dump_lines(folder / "data" / "test.jsonl", test)
        if self.learning_curve:
            dump(folder / "learning_curve.json", self.learning_curve)
        return folder

    def test_rows(self) -> list[dict[str, Any]]:
        """The test records; labels take turns."""
        rows = []
        for index in range(self.rows):
            label = self.labels[index % len(self.labels)]
            words = WORDS.get(label, ("something else",))[index // len(self.labels) % len(WORDS.get(label, "1"))]
            text = self.text.format(words=words, index=index)
            rows.append({"text": text, "kind": label, "_id": f"row-{index}", "_source": f"messages.csv:{index + 2}"})
        return rows


def write_run(
    folder: Path, rung: Made, test: list[dict[str, Any]], labels: tuple[str, ...] = LABELS, seed: int = 7
) -> None:
    """Write one artifact folder with metrics that belong to its predictions."""
    truth = [row["kind"] for row in test]
    answers = answered(truth, labels, rung)
    metrics: dict[str, Any] = {
        "validation": {"macro_f1": 1 - rung.errors / len(truth), "accuracy": 1 - rung.errors / len(truth)},
        "test": scored(labels, truth, answers),
        "uncalibrated": None,
        "forgetting": rung.forgetting,
    }
    if rung.overfitting is not None:
        metrics["train"] = {"macro_f1": metrics["validation"]["macro_f1"] + rung.overfitting, "rows": 400}
    if rung.uncalibrated_errors is not None:
        before = replace(rung, errors=rung.uncalibrated_errors)
        metrics["uncalibrated"] = scored(labels, truth, answered(truth, labels, before))
    base = {"reference": rung.model, "hash": "9f2c" * 16, "kind": "decoder", "model_type": "llama", "parameters": 1000}
    run = {
        "format": 1,
        "name": rung.name,
        "config": {"method": {"type": rung.method}},
        "resolved": {"method": {"type": rung.method}},
        "execution": {},
        "config_hash": "3b1f" * 16,
        "seed": seed,
        "versions": {"rung": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        "hardware": {"cpu": "8 cores", "memory": "16 GB"},
        "data": {"hashes": {}, "rows": {"train": 2000, "validation": 400, "test": len(test)}, "labels": list(labels)},
        "base": base if rung.model else None,
        "status": "finished",
        "created": "2026-03-01T09:30:00Z",
    }
    dump(folder / "run.json", run)
    dump(folder / "metrics.json", metrics)
    dump(folder / "cost.json", cost(rung))
    dump_lines(folder / "history.jsonl", history(rung))
    dump_lines(
        folder / "predictions.jsonl",
        [
            {"id": row["_id"], "label": row["kind"], "prediction": said, "probabilities": None, "scores": None}
            for row, said in zip(test, answers, strict=True)
        ],
    )


def answered(truth: list[str], labels: tuple[str, ...], rung: Made) -> list[str]:
    """The truth with `errors` rows of a fixed shuffle, from `first_error` on, moved on to the next label."""
    if rung.method == "majority":
        return [labels[0]] * len(truth)
    shuffled = random.Random(0).sample(range(len(truth)), len(truth))
    wrong = {shuffled[(rung.first_error + index) % len(truth)] for index in range(rung.errors)}
    return [labels[(labels.index(label) + (at in wrong)) % len(labels)] for at, label in enumerate(truth)]


def scored(labels: tuple[str, ...], truth: list[str], answers: list[str]) -> dict[str, Any]:
    """`metrics.json`'s scores of answers."""
    scores = classification_metrics(labels, truth, answers)
    right, said = label_indices(labels, truth), label_indices(labels, answers)
    found: dict[str, Any] = {}
    for name in ("macro_f1", "accuracy", "mcc"):
        low, high = bootstrap_interval(right, said, len(labels), name, samples=200)
        found[name] = {"value": getattr(scores, name), "low": low, "high": high}
    rows = [
        {"label": row.label, "precision": row.precision, "recall": row.recall, "f1": row.f1, "support": row.support}
        for row in scores.per_class
    ]
    confusion = np.asarray(scores.confusion).tolist()
    found |= {"expected_calibration_error": 0.041, "per_class": rows, "confusion": confusion, "labels": list(labels)}
    return found


def cost(rung: Made) -> dict[str, Any]:
    """`cost.json` of a rung."""
    steps = {"seconds_per_step": rung.step_seconds, "optimizer_bytes": 8 * rung.parameters}
    return {
        **({} if rung.step_seconds is None else steps),
        "train_seconds": rung.train_seconds,
        "load_seconds": 1.2,
        "tokenize_seconds": 0.3,
        "eval_seconds": 4.4,
        "search_seconds": 0.0,
        "peak_memory_bytes": 1_900_000_000 if rung.model else 212_000_000,
        "trainable_parameters": rung.parameters,
        "artifact_bytes": 4600 + rung.parameters * 4,
        "flops": 2.1e13 if rung.train_seconds else 0,
        "tokens": 181_000 if rung.train_seconds else 0,
        "seconds_per_request": rung.request_seconds,
        "tokens_per_request": 412 if rung.method == "few_shot" else 58,
    }


def history(rung: Made) -> list[dict[str, Any]]:
    """A falling loss for rungs that train weights, checked every 25 steps."""
    if rung.train_seconds < 1:
        return []
    noise, rows = random.Random(rung.name), []
    for step in range(1, 126):
        row = {"step": step, "epoch": step / 125, "loss": 1.1 * 0.97**step + 0.1 + noise.random() * 0.06}
        row |= {"learning_rate": 2e-4, "grad_norm": 1.0, "seconds": step * rung.train_seconds / 125}
        if step % 25 == 0:
            row["validation"] = {"macro_f1": 1 - rung.errors / 600 - 0.3 * 0.96**step}
        rows.append(row)
    return rows


def growth(name: str, best: float) -> dict[str, Any]:
    """A learning curve of one rung over an eighth to all of the rows."""
    values = [(250, best - 0.12), (500, best - 0.06), (1000, best - 0.025), (2000, best)]
    points = [
        {"rows": rows, "macro_f1": {"value": at, "low": at - 0.02, "high": min(at + 0.02, 1)}} for rows, at in values
    ]
    return {name: points}


def dump(path: Path, value: Any) -> None:
    """Write JSON, making folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def dump_lines(path: Path, rows: list[Any]) -> None:
    """Write JSON lines, making folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
