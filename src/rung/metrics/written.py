"""The metrics of written answers: their names, and what each row adds to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np

from rung.metrics.generation import AnswerPattern, exact_match, last_number, same_answer, token_f1
from rung.metrics.metric import Floats, Metric, exp_ratio, scores
from rung.metrics.overlap import bleu, bleu_counts, chrf, chrf_counts, rouge

MainMetric = Literal["exact_match", "number_match", "token_f1", "rouge_1", "rouge_2", "rouge_l", "chrf", "bleu", "loss"]
"""What runs may be compared by."""
AnyMetric = Literal[
    "exact_match", "number_match", "answer_found", "token_f1", "rouge_1", "rouge_2", "rouge_l", "chrf", "bleu",
    "loss", "perplexity",
]  # fmt: skip
"""What may be computed."""

CHEAP: tuple[AnyMetric, ...] = ("exact_match", "token_f1", "loss", "perplexity")
"""What is computed unless the task's settings name metrics."""

_METRICS = (
    Metric("exact_match", "exact match"),
    Metric("number_match", "number match"),
    Metric("answer_found", "answer found"),
    Metric("token_f1", "token F1"),
    Metric("rouge_1", "ROUGE-1"),
    Metric("rouge_2", "ROUGE-2"),
    Metric("rouge_l", "ROUGE-L"),
    Metric("chrf", "chrF", chrf, parts=18),
    Metric("bleu", "BLEU", bleu, parts=10),
    Metric("loss", "loss", lower_is_better=True, unit="nats"),
    Metric("perplexity", "perplexity", exp_ratio, sums="loss", lower_is_better=True, unit="choices"),
    Metric("share_stopped", "share stopped"),
    Metric("share_cut", "share cut", lower_is_better=True),
    Metric("mean_tokens", "mean tokens", unit="tokens"),
)
WRITTEN = {metric.name: metric for metric in _METRICS}
"""Every metric of written answers by its name; those of length and stopping are always taken."""

ENDINGS = ("share_stopped", "share_cut")
"""How answers ended: always told."""


def main_metric(named: str | None, has_pattern: bool) -> Metric:
    """What runs are compared by: the metric that was named, else the final answer, else the words in common.

    Args:
        named: A name in `WRITTEN`, or None.
        has_pattern: Whether a pattern finds the final answer.
    """
    return WRITTEN[named or ("exact_match" if has_pattern else "token_f1")]


def text_rows(name: str, truth: Sequence[str], written: Sequence[str], pattern: AnswerPattern | None) -> Floats:
    """`[N, K]` what each row adds to a metric of texts.

    Args:
        name: A metric of texts: any of `AnyMetric` but `loss` and `perplexity`.
        truth: The right texts.
        written: The written ones, in the same order.
        pattern: Finds the final answer; None = the whole text.
    """
    if name in _COUNTS:
        return _COUNTS[name](truth, written)
    if name == "exact_match":
        rows = exact_match(truth, written, pattern)
    elif name == "answer_found":
        assert pattern is not None
        rows = [float(pattern.find(text) is not None) for text in written]
    else:
        rows = _SCORES[name](truth, written)
    return scores(np.asarray(rows, dtype=np.float64))


def _same_numbers(truth: Sequence[str], written: Sequence[str]) -> list[float]:
    pairs = zip(truth, written, strict=True)
    return [float(same_answer(last_number(right), last_number(text))) for right, text in pairs]


def _token_f1(truth: Sequence[str], written: Sequence[str]) -> list[float]:
    return [token_f1(*pair) for pair in zip(truth, written, strict=True)]


_Scores = Callable[[Sequence[str], Sequence[str]], list[float]]
_SCORES: dict[str, _Scores] = {
    "number_match": _same_numbers,
    "token_f1": _token_f1,
    "rouge_1": partial(rouge, "rouge1"),
    "rouge_2": partial(rouge, "rouge2"),
    "rouge_l": partial(rouge, "rougeL"),
}
_COUNTS: dict[str, Callable[[Sequence[str], Sequence[str]], Floats]] = {"bleu": bleu_counts, "chrf": chrf_counts}
