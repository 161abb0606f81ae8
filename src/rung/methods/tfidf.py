"""The control that counts words: TF-IDF with a linear support-vector machine (scikit-learn)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import Field

from rung.methods.control import ControlMethod, FittedControl


class Tfidf(ControlMethod):
    """Bag of words and character n-grams under a linear SVM, fitted in seconds."""

    type: Literal["tfidf"] = "tfidf"
    C: float = Field(default=1.0, gt=0)
    """Inverse strength of the SVM's regularisation (scikit-learn's name)."""

    def fit(self, texts: Sequence[str], labels: Sequence[int], num_labels: int, seed: int) -> FittedControl:
        """Fit the bag, the hyperplanes, and a temperature on held-out folds of the training rows."""
        from rung.methods import bag  # imports scikit-learn

        return bag.fit(texts, labels, num_labels, self.C, seed)

    def restore(self, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> FittedControl:
        """From vocabularies, frequencies and hyperplanes."""
        from rung.methods import bag

        return bag.restore(settings, arrays)
