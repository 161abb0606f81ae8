"""What a run forgot: general text before and after.

Decoders: mean loss per token on general English lines. Encoders have no language-model head to ask, so a linear
probe is fitted on their features: from which article is this sentence? (five folds; the shipped lines come from
twenty articles, ten each).
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

from rung.models.tokenizer import encode_text
from rung.types import IGNORED, Tokens

_LONGEST = 128
_BATCH = 50
_FOLDS = 5


class Model(Protocol):
    """What is asked of an adapted model."""

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


def measure(model: Model, tokenizer: Any, kind: str) -> float:
    """Where a model stands on general text now.

    Args:
        model: The model, as trained or within `root()`.
        tokenizer: Its tokenizer.
        kind: `loss` (nats per token, lower is better) or `probe` (accuracy, higher is better).
    """
    lines = [line["text"] for line in general_lines()]
    encoded = [tuple(encode_text(tokenizer, line, None, _LONGEST)[0]) for line in lines]
    with torch.inference_mode():
        return _loss(model, encoded) if kind == "loss" else _probe(model, encoded)


def forgetting(kind: str, before: float, after: float) -> dict[str, Any]:
    """The entry of `metrics.json`; `change` is after minus before."""
    return {"kind": kind, "before": before, "after": after, "change": after - before}


def _loss(model: Model, encoded: Sequence[tuple[int, ...]]) -> float:
    sequences = sorted((Tokens(ids, (IGNORED, *ids[1:])) for ids in encoded), key=len)
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
