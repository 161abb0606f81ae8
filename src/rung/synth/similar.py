"""Is there something like it already: instructions by ROUGE-L, whole rows by MinHash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import regex

from rung.data.content import normalise
from rung.data.near import THRESHOLD, jaccard, near_matches, shingles
from rung.metrics.overlap import rouge

_WORD = regex.compile(r"[^\W_]+")  # as the metric counts them


class Pool:
    """Texts that a new one must differ from, by ROUGE-L (Lin 2004), as self-instruct has it.

    Args:
        threshold: F-measure from which two are too alike.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._texts: list[str] = []
        self._words: list[Counter[str]] = []

    def add(self, text: str) -> None:
        """Take a text up."""
        self._texts.append(text)
        self._words.append(_counted(text))

    def like(self, text: str) -> str | None:
        """The likest text of the pool, where it is too like."""
        own = _counted(text)
        # A common subsequence is no longer than the words in common: most need no closer look.
        near = [
            at
            for at, other in enumerate(self._words)
            if 2 * (own & other).total() >= self._threshold * (own.total() + other.total())
        ]
        scores = rouge("rougeL", [self._texts[at] for at in near], [text] * len(near))
        best = max(range(len(near)), key=scores.__getitem__, default=None)
        return None if best is None or scores[best] < self._threshold else self._texts[near[best]]


class Rows:
    """Whole rows that a new one must not nearly repeat: MinHash for earlier rounds', one by one for this round's."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._earlier = 0

    def begin_round(self, texts: Sequence[str]) -> set[int]:
        """Which of a round's texts are near duplicates of rows of earlier rounds."""
        self._earlier = len(self._texts)
        return set(near_matches([normalise(text) for text in texts], self._texts))

    def repeats_this_round(self, text: str) -> bool:
        """Whether a text is a near duplicate of a row taken up since the round began."""
        own = shingles(normalise(text))
        return any(jaccard(own, shingles(other)) >= THRESHOLD for other in self._texts[self._earlier :])

    def add(self, text: str) -> None:
        """Take a row up."""
        self._texts.append(normalise(text))


def _counted(text: str) -> Counter[str]:
    return Counter(_WORD.findall(text.lower()))
