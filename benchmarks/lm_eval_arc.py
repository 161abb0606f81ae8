"""lm-eval's Hugging Face backend on ARC-easy, by way of its own `simple_evaluate` and a local task file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from benchmarks.arc import CHOICES, MODEL, digest, findings
from benchmarks.machine import peak_bytes
from rung.models.locate import locate

TASK = "arc_easy_fixed_shots"


class Timed(HFLM):
    """lm-eval's backend, which notes what it is asked and how long the model takes; the first item is asked twice."""

    asked: list[Any]
    answered: list[tuple[float, bool]]
    seconds: float
    first: float

    def _loglikelihood_tokens(self, requests: list[Any], *args: Any, **kwargs: Any) -> list[tuple[float, bool]]:
        began = time.perf_counter()
        super()._loglikelihood_tokens(requests[:CHOICES], *args, **kwargs)
        self.first = time.perf_counter() - began
        began = time.perf_counter()
        self.answered = super()._loglikelihood_tokens(requests, *args, **kwargs)
        self.seconds = time.perf_counter() - began
        self.asked = list(requests)
        return self.answered


def score(args: dict[str, Any]) -> dict[str, Any]:
    """Score the choices of some items: see README.md for what comes back.

    Args:
        args: `items`, `dtype`, `batch_size` (requests a forward pass; an item has one request per choice).
    """
    began = time.perf_counter()
    model = Timed(str(locate(MODEL)), device="cpu", dtype=args["dtype"], batch_size=args["batch_size"])
    loading = time.perf_counter() - began
    tasks = TaskManager(include_path=str(Path(__file__).parent / "tasks"), include_defaults=False)
    found = simple_evaluate(model, tasks=[TASK], limit=args["items"], task_manager=tasks, bootstrap_iters=0)
    peak = peak_bytes()
    assert found is not None
    logs = [log for log, _ in model.answered]
    pairs = [(tuple(context), tuple(continuation)) for _, context, continuation in model.asked]
    judged = findings([logs[at : at + CHOICES] for at in range(0, len(logs), CHOICES)])
    reported = found["results"][TASK]["acc,none"]
    assert abs(reported - judged["accuracy"]) < 1e-9, f"lm-eval says {reported}, its scores say {judged['accuracy']}"
    return {
        "rows": args["items"],
        "tokens": sum(len(context) + len(continuation) for context, continuation in pairs),
        "seconds": model.seconds,
        "apart": {"load": loading, "first_step": model.first},
        "peak_bytes": peak,
        **judged,
        "settings": {"dtype": args["dtype"], "batch_size": args["batch_size"]},
        "rows_digest": digest(pairs),
    }
