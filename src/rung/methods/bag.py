"""Bags of words and of pieces of words under a linear support-vector machine: what `tfidf` fits (scikit-learn).

Apart from its method's file, since scikit-learn takes a second to import and few runs want it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize_scalar
from scipy.sparse import csr_matrix, hstack
from scipy.special import log_softmax, softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

from rung.methods.control import FittedControl

_VIEWS: Mapping[str, Mapping[str, Any]] = {
    "word": {"analyzer": "word", "ngram_range": (1, 2), "sublinear_tf": True, "token_pattern": r"(?u)\b\w+\b"},
    "char": {"analyzer": "char_wb", "ngram_range": (2, 5), "sublinear_tf": True, "max_features": 100_000},
}
"""Words with their neighbours, and pieces of words: the strongest plain bag for short texts."""


class FittedTfidf(FittedControl):
    """Vocabularies, inverse document frequencies and the hyperplanes."""

    def __init__(
        self, views: Mapping[str, TfidfVectorizer], weights: NDArray[Any], bias: NDArray[Any], temperature: float
    ) -> None:
        self.views = views
        self.weights = weights
        self.bias = bias
        self.temperature = temperature

    def margins(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """`[N, C]` distances to the hyperplanes."""
        return _margins(_features(self.views, texts), self.weights, self.bias)

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Softmax of the margins at the fitted temperature (Guo et al. 2017, arXiv 1706.04599)."""
        return softmax(self.margins(texts) / self.temperature, axis=1)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Hyperplanes and document frequencies."""
        frequencies = {f"idf.{name}": np.asarray(view.idf_) for name, view in self.views.items()}
        return {"weights": self.weights, "bias": self.bias, **frequencies}

    def settings(self) -> Mapping[str, Any]:
        """Vocabularies and temperature."""
        words = {name: list(view.get_feature_names_out()) for name, view in self.views.items()}
        return {"temperature": self.temperature, "vocabulary": words}


def fit(texts: Sequence[str], labels: Sequence[int], num_labels: int, strength: float, seed: int) -> FittedTfidf:
    """Fit the bag, the hyperplanes, and a temperature on held-out folds of the training rows.

    Args:
        texts: Training texts.
        labels: Their label indices.
        num_labels: How many labels there are.
        strength: Inverse strength of the regularisation (`C`).
        seed: Of the machine's and the folds' draws.
    """
    # texts of signs alone hold no word: the view of words is then left out
    seen = [name for name in _VIEWS if name != "word" or any(re.search(r"\w", text) for text in texts)]
    views = {name: TfidfVectorizer(**_VIEWS[name]).fit(texts) for name in seen}
    features = _features(views, texts)
    targets = np.asarray(labels)
    weights, bias = _planes(features, targets, num_labels, strength, seed)
    return FittedTfidf(views, weights, bias, _temperature(features, targets, num_labels, strength, seed))


def restore(settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> FittedTfidf:
    """From vocabularies, frequencies and hyperplanes."""
    views: dict[str, TfidfVectorizer] = {}
    for name, words in settings["vocabulary"].items():
        view = TfidfVectorizer(**_VIEWS[name], vocabulary={word: at for at, word in enumerate(words)})
        view.idf_ = arrays[f"idf.{name}"]
        views[name] = view
    return FittedTfidf(views, arrays["weights"], arrays["bias"], settings["temperature"])


def _planes(
    features: csr_matrix, targets: NDArray[Any], num_labels: int, strength: float, seed: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    machine = LinearSVC(C=strength, random_state=seed).fit(features, targets)
    planes, offsets, present = (np.asarray(part) for part in (machine.coef_, machine.intercept_, machine.classes_))
    if len(present) == 2:
        planes, offsets = np.vstack([-planes, planes]), np.concatenate([-offsets, offsets])
    weights = np.zeros((num_labels, planes.shape[1]))
    bias = np.full(num_labels, np.min(offsets) - 10.0)
    weights[present], bias[present] = planes, offsets
    return weights, bias


def _temperature(features: csr_matrix, targets: NDArray[Any], num_labels: int, strength: float, seed: int) -> float:
    smallest = int(np.bincount(targets, minlength=num_labels)[np.unique(targets)].min())
    if smallest < 2:
        return 1.0
    folds = StratifiedKFold(min(3, smallest), shuffle=True, random_state=seed)
    margins = np.zeros((len(targets), num_labels))
    for kept, held in folds.split(np.zeros(len(targets)), targets):
        margins[held] = _margins(features[held], *_planes(features[kept], targets[kept], num_labels, strength, seed))

    def loss(log_temperature: float) -> float:
        logs = log_softmax(margins / np.exp(log_temperature), axis=1)
        return -float(logs[np.arange(len(targets)), targets].mean())

    found: OptimizeResult = minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded")
    return float(np.exp(found["x"]))


def _features(views: Mapping[str, TfidfVectorizer], texts: Sequence[str]) -> csr_matrix:
    return csr_matrix(hstack([views[name].transform(texts) for name in _VIEWS if name in views]))


def _margins(features: csr_matrix, weights: NDArray[Any], bias: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(features @ weights.T) + bias
