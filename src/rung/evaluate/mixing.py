"""Rows of several runs on one base, answered together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from rung.compute.output import OutputLayer
from rung.compute.scoring import Question
from rung.evaluate.predictor import LocalPredictor, by_budget
from rung.types import Prediction, Record, Row, Tokens


class Shared(Protocol):
    """What mixing asks of the model that carries the runs' adapters (see `rung.methods.adapted.Adapted`)."""

    def scores(self, questions: Sequence[Question]) -> list[np.ndarray]:
        """Per question the log-probability of each of its answers."""
        ...

    def features(self, sequences: Sequence[Tokens], pooling: str) -> torch.Tensor:
        """`[sequences, H]` one vector per text."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """One run's rows.

    Attributes:
        predictor: The run's, asked for its encoding and its output layer alone.
        records: Its rows.
        adapter: The name its adapter has in the model; empty = it has none.
    """

    predictor: LocalPredictor
    records: Sequence[Record]
    adapter: str

    @property
    def head(self) -> OutputLayer | None:
        """The run's own output layer, or None where it is asked for the likelihood of answers."""
        head = self.predictor.model.head
        assert head is None or isinstance(head, OutputLayer)
        return head

    @property
    def pooling(self) -> str:
        """How its texts become vectors."""
        return self._layer().spec.pooling

    def outputs(self, features: torch.Tensor) -> torch.Tensor:
        """`[N, H]` vectors of its texts to the `[N, outputs]` of its own output layer."""
        return self._layer()(features)

    def decode(self, row: Row, outputs: torch.Tensor) -> Prediction:
        """What its output layer said of a text, as a prediction."""
        assert self.predictor.objective is not None
        return self.predictor.objective.decode(row, outputs, self.predictor.task)

    def _layer(self) -> OutputLayer:
        assert self.head is not None, "this run has no output layer"
        return self.head


def predict_mixed(model: Shared, parts: Sequence[Part]) -> list[list[Prediction]]:
    """Answers of several runs; rows of different runs go through the model in the same passes.

    Args:
        model: The base with the runs' adapters beside its maps (see `rung.methods.mixed`).
        parts: The runs and their rows.

    Returns:
        Per part its predictions, in the order of its rows.
    """
    scored = [at for at, part in enumerate(parts) if part.head is None]
    headed = [at for at, part in enumerate(parts) if part.head is not None]
    found: dict[int, list[Prediction]] = {}
    with torch.inference_mode():
        found |= zip(scored, _by_score(model, [parts[at] for at in scored]), strict=True)
        found |= zip(headed, _by_head(model, [parts[at] for at in headed]), strict=True)
    return [found[at] for at in range(len(parts))]


def _by_score(model: Shared, parts: Sequence[Part]) -> list[list[Prediction]]:
    asked = [part.predictor.questions(part.records, part.predictor.task.prompt, part.adapter) for part in parts]
    raw = iter(model.scores([question for questions in asked for question in questions]))
    return [
        part.predictor.read(part.records, part.predictor.task.prompt, [next(raw) for _ in part.records])
        for part in parts
    ]


def _by_head(model: Shared, parts: Sequence[Part]) -> list[list[Prediction]]:
    found: dict[int, list[Prediction]] = {}
    for pooling in sorted({part.pooling for part in parts}):
        alike = [at for at, part in enumerate(parts) if part.pooling == pooling]
        found |= zip(alike, _pooled(model, [parts[at] for at in alike], pooling), strict=True)
    return [found[at] for at in range(len(parts))]


def _pooled(model: Shared, parts: Sequence[Part], pooling: str) -> list[list[Prediction]]:
    """Texts that become vectors in one way: the body sees them together, each output layer its own."""
    encoded = [part.predictor.rows(part.records, part.predictor.task.prompt) for part in parts]
    rows = [(at, row) for at, own in enumerate(encoded) for row in own]
    sequences = [replace(row.sequences[0], adapter=parts[at].adapter or None) for at, row in rows]
    predictions: dict[int, Prediction] = {}
    for batch in by_budget([len(sequence) for sequence in sequences]):
        features = model.features([sequences[number] for number in batch], pooling)
        for at in sorted({rows[number][0] for number in batch}):
            places = [place for place, number in enumerate(batch) if rows[number][0] == at]
            outputs = parts[at].outputs(features[places])
            for place, output in zip(places, outputs, strict=True):
                predictions[batch[place]] = parts[at].decode(rows[batch[place]][1], output)
    numbers = iter(range(len(rows)))
    return [[predictions[next(numbers)] for _ in own] for own in encoded]
