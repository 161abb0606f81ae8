"""What a run forgot: general text before and after.

Decoders: mean loss per token on general English lines. Encoder-decoders: the same of each line's second half, given its
first: they have no loss of a text by itself, and what they were pretrained to mend differs from model to model.
Encoders have no language-model head to ask, so a linear probe is fitted on their features: from which article is this
sentence? (five folds; the shipped lines come from twenty articles, ten each).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from rung.models.families import Family
from rung.models.tokenizer import encode_text
from rung.objectives.seq2seq import Seq2Seq
from rung.types import IGNORED, Example, Message, Tokens

_LONGEST = 128
_BATCH = 50
_FOLDS = 5


class Model(Protocol):
    """What is asked of an adapted model."""

    @property
    def family(self) -> Family:
        """The model's parts."""
        ...

    def logprobs(self, sequences: Sequence[Tokens]) -> torch.Tensor:
        """`[P]` log-probabilities of the labels."""
        ...

    def features(self, sequences: Sequence[Tokens], pooling: str) -> torch.Tensor:
        """`[sequences, H]` one vector per text."""
        ...


@cache
def general_lines() -> tuple[dict[str, str], ...]:
    """The shipped general lines: `text` and the `article` it is from."""
    text = files("rung.evaluate").joinpath("general.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.splitlines())


def kind_of(family: Family) -> str:
    """How a model's standing is told: `probe` (accuracy, higher is better) or `loss` (nats per token, lower is)."""
    return "probe" if family.kind == "encoder" else "loss"


def measure(model: Model, tokenizer: Any) -> float:
    """Where a model stands on general text now, in the unit of `kind_of`.

    Args:
        model: The model, as trained or within `root()`.
        tokenizer: Its tokenizer.
    """
    lines = [line["text"] for line in general_lines()]
    with torch.inference_mode():
        if model.family.kind == "encoder_decoder":
            return _loss(model, _halves(model.family, tokenizer, lines))
        encoded = [tuple(encode_text(tokenizer, line, None, _LONGEST)[0]) for line in lines]
        if model.family.kind == "decoder":
            return _loss(model, [Tokens(ids, (IGNORED, *ids[1:])) for ids in encoded])
        return _probe(model, encoded)


def forgetting(kind: str, before: float, after: float) -> dict[str, Any]:
    """The entry of `metrics.json`; `change` is after minus before."""
    return {"kind": kind, "before": before, "after": after, "change": after - before}


def _halves(family: Family, tokenizer: Any, lines: Sequence[str]) -> list[Tokens]:
    """Each line's first half of words as what is read, the second as what is written."""
    words = [line.split() for line in lines]
    first = [" ".join(one[: len(one) // 2]) for one in words]
    second = [" ".join(one[len(one) // 2 :]) for one in words]
    objective = Seq2Seq().on(family)
    sources = objective.prompts(tokenizer, [Example("", messages=(Message("user", text),)) for text in first])
    answers = objective.answers(tokenizer, second)
    longest = min(_LONGEST, family.max_length)
    return [
        objective.sequence(source[:longest], answer, longest) for source, answer in zip(sources, answers, strict=True)
    ]


def _loss(model: Model, sequences: Sequence[Tokens]) -> float:
    sequences = sorted(sequences, key=lambda one: one.size)
    total, count = 0.0, 0
    for at in range(0, len(sequences), _BATCH):
        logs = model.logprobs(sequences[at : at + _BATCH])
        total -= float(logs.double().sum())
        count += len(logs)
    return total / count


def _probe(model: Model, encoded: Sequence[tuple[int, ...]]) -> float:
    # scikit-learn takes a second to import, and decoders have no use for it
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
    features = np.empty((len(encoded), 0))
    for at in range(0, len(order), _BATCH):
        rows = order[at : at + _BATCH]
        values = model.features([Tokens(encoded[row]) for row in rows], "mean").double().cpu().numpy()
        if not features.shape[1]:
            features = np.empty((len(encoded), values.shape[1]))
        features[rows] = values
    articles = [line["article"] for line in general_lines()]
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    # 200 rows are far too few to share: threads of the matrix library would spend the time waiting for each other.
    with threadpool_limits(1, "blas"):
        return float(cross_val_score(probe, features, articles, cv=folds).mean())
