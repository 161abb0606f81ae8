"""How good a classifier's answers are: pure functions of the truth and the answers.

Accuracy, macro F1 and the correlation coefficient need three counts per class and nothing else, so each is
written once over `ClassCounts`: for one test set, or for thousands of bootstrap weightings of it at once.
Shapes: `N` rows, `C` labels, `...` any number of weightings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy import sparse

from rung.errors import DataError, unknown

NO_ANSWER = -1
"""Index of a prediction that names no label (an open answer that could not be read). It is always wrong."""

CALIBRATION_BINS = 15


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """What the metrics of a classifier depend on.

    Attributes:
        hits: `[..., C]` rows of a class that were answered right.
        predicted: `[..., C]` rows answered with the class.
        actual: `[..., C]` rows of the class.
    """

    hits: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray


def class_counts(
    truth: np.ndarray, predicted: np.ndarray, num_classes: int, weights: np.ndarray | None = None
) -> ClassCounts:
    """Counts the classes, for one weighting of the rows or for many.

    Args:
        truth: `[N]` label indices.
        predicted: `[N]` label indices, or `NO_ANSWER`.
        num_classes: `C`.
        weights: `[..., N]` how often each row counts; None counts each once.
    """
    weights = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=np.float64)
    flat = weights.reshape(-1, len(truth))

    def total(classes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        membership = sparse.csr_matrix((np.ones(len(rows)), (classes[rows], rows)), shape=(num_classes, len(truth)))
        return (membership @ flat.T).T.reshape(*weights.shape[:-1], num_classes)

    return ClassCounts(
        hits=total(truth, np.flatnonzero(truth == predicted)),
        predicted=total(predicted, np.flatnonzero(predicted != NO_ANSWER)),
        actual=total(truth, np.arange(len(truth))),
    )


def accuracy_from_counts(counts: ClassCounts) -> np.ndarray:
    """`[...]` the share of rows answered right."""
    return counts.hits.sum(-1) / counts.actual.sum(-1)


def macro_f1_from_counts(counts: ClassCounts) -> np.ndarray:
    """`[...]` the mean F1 over the classes that occur in the truth or in the predictions.

    A class that occurs in neither has no F1 and is left out of the mean, in each weighting on its own; a class
    that occurs and is never answered right has F1 0 (scikit-learn's default labels with `zero_division=0`).
    """
    occurrences = counts.predicted + counts.actual
    return _ratio(2 * counts.hits, occurrences).sum(-1) / (occurrences > 0).sum(-1)


def mcc_from_counts(counts: ClassCounts) -> np.ndarray:
    """`[...]` Matthews' correlation coefficient for many classes; 0 where either side is constant.

    Method: Gorodkin 2004, https://doi.org/10.1016/j.compbiolchem.2004.09.006.
    """
    rows = counts.actual.sum(-1)
    unanswered = rows - counts.predicted.sum(-1)
    covariance = counts.hits.sum(-1) * rows - (counts.predicted * counts.actual).sum(-1)
    predicted = rows**2 - (counts.predicted**2).sum(-1) - unanswered**2
    actual = rows**2 - (counts.actual**2).sum(-1)
    return _ratio(covariance, np.sqrt(predicted * actual))


METRICS: Mapping[str, Callable[[ClassCounts], np.ndarray]] = MappingProxyType(
    {"macro_f1": macro_f1_from_counts, "accuracy": accuracy_from_counts, "mcc": mcc_from_counts}
)
"""Metrics that can be compared between rungs, by name; for each, more is better."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How one label fared; a score with nothing to divide by is 0.

    Attributes:
        label: The label.
        precision: Share of the rows answered with it that are of it.
        recall: Share of its rows that were answered with it.
        f1: Harmonic mean of the two.
        support: Its rows in the truth.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class ClassificationScores:
    """How good a classifier's answers are.

    Attributes:
        accuracy: Share of rows answered right, 0 to 1.
        macro_f1: Mean F1 over the labels that occur in the truth or the predictions, 0 to 1.
        mcc: Matthews' correlation coefficient, -1 to 1.
        per_class: One row per label, in label order.
        confusion: `[C, C]` row counts; the truth down, the prediction across.
        unanswered: Rows without an answer: in no column of `confusion`, and wrong everywhere else.
        expected_calibration_error: See `expected_calibration_error`; None without probabilities.
        brier: See `brier_score`; None without probabilities.
    """

    accuracy: float
    macro_f1: float
    mcc: float
    per_class: tuple[ClassScores, ...]
    confusion: np.ndarray
    unanswered: int
    expected_calibration_error: float | None
    brier: float | None


def classification_metrics(
    labels: Sequence[str],
    truth: Sequence[str],
    predicted: Sequence[str | None],
    probabilities: np.ndarray | None = None,
) -> ClassificationScores:
    """Scores a classifier's answers.

    Args:
        labels: `[C]` the label names, in the order of the probabilities.
        truth: `[N]` the right labels.
        predicted: `[N]` the answers; None = no answer could be read, which counts as wrong.
        probabilities: `[N, C]` probability per label, or None.

    Raises:
        DataError: There is no row, the lengths differ, a label is unknown, or a probability is not one.
    """
    if not truth or len(truth) != len(predicted):
        raise DataError(
            f"truth has {len(truth)} rows and predicted has {len(predicted)}",
            "Scores need at least one row, and one prediction for each.",
        )
    right, answers = label_indices(labels, truth), label_indices(labels, predicted)
    if NO_ANSWER in right:
        raise DataError("a test row has no label", "Give every test row its right label, or leave the row out.")
    counts = class_counts(right, answers, len(labels))
    answered = answers != NO_ANSWER
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusion, (right[answered], answers[answered]), 1)
    if probabilities is not None:
        probabilities = _checked_probabilities(probabilities, (len(truth), len(labels)))
    return ClassificationScores(
        accuracy=float(accuracy_from_counts(counts)),
        macro_f1=float(macro_f1_from_counts(counts)),
        mcc=float(mcc_from_counts(counts)),
        per_class=_per_class(labels, counts),
        confusion=confusion,
        unanswered=int((~answered).sum()),
        expected_calibration_error=None if probabilities is None else expected_calibration_error(right, probabilities),
        brier=None if probabilities is None else brier_score(right, probabilities),
    )


def label_indices(labels: Sequence[str], names: Sequence[str | None]) -> np.ndarray:
    """`[N]` the position of each name in `labels`; None becomes `NO_ANSWER`.

    Raises:
        DataError: A name is not among the labels.
    """
    index: dict[str | None, int] = {label: position for position, label in enumerate(labels)}
    index[None] = NO_ANSWER
    for name in names:
        if name not in index:
            raise DataError(unknown("label", str(name), labels), "Every answer must be one of the task's labels.")
    return np.fromiter((index[name] for name in names), dtype=np.int64, count=len(names))


def expected_calibration_error(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """How far the confidence in the likeliest label is from how often it is right: 0 is calibrated, 1 the worst.

    Confidences fall into 15 bins of equal width, open below and closed above; the gap between mean confidence
    and accuracy is averaged over the bins, weighted by their rows.
    Method: Guo et al. 2017, https://arxiv.org/abs/1706.04599.

    Args:
        truth: `[N]` label indices.
        probabilities: `[N, C]`.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(truth))


def brier_score(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean over rows of the squared distance to the right answer, summed over labels: 0 best, 2 worst.

    Method: Brier 1950, https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2.

    Args:
        truth: `[N]` label indices.
        probabilities: `[N, C]`.
    """
    right = np.eye(probabilities.shape[1])[truth]
    return float(((probabilities - right) ** 2).sum(axis=1).mean())


def _per_class(labels: Sequence[str], counts: ClassCounts) -> tuple[ClassScores, ...]:
    precision = _ratio(counts.hits, counts.predicted)
    recall = _ratio(counts.hits, counts.actual)
    f1 = _ratio(2 * counts.hits, counts.predicted + counts.actual)
    return tuple(
        ClassScores(label, float(precision[c]), float(recall[c]), float(f1[c]), int(counts.actual[c]))
        for c, label in enumerate(labels)
    )


def _checked_probabilities(probabilities: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.shape != shape:
        raise DataError(f"probabilities have shape {probabilities.shape}", f"They must be [rows, labels] = {shape}.")
    # Low-precision softmax rows miss 1 by about 1e-2; raw scores and NaN miss it by far more.
    valid = (probabilities >= 0).all(axis=1) & (np.abs(probabilities.sum(axis=1) - 1) < 0.02)
    if not valid.all():
        row = int(np.flatnonzero(~valid)[0])
        raise DataError(
            f"probabilities of row {row} are {probabilities[row].tolist()}",
            "Each row must be non-negative and sum to 1: pass a softmax, not raw scores.",
        )
    return probabilities


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.zeros_like(np.asarray(bottom, dtype=np.float64)), where=bottom != 0)
