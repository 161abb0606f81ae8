"""Training text that holds test text: runs of thirteen words in common.

Brown et al., "Language Models are Few-Shot Learners", 2020, appendix C (https://arxiv.org/abs/2005.14165): a run of
13 words of a test text, in lower case and without punctuation, that also stands in training text. A run that many
training texts share is a form's wording and says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from rung.data.lexical import WORD

RUN = 13
"""Words in a row that count as the same text."""

_BLANKS = RUN - 1


class Runs:
    """The runs of thirteen words of some texts: eight bytes each, since there are millions in a large test file.

    Args:
        texts: The texts.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._runs = np.unique(np.fromiter((run for text in texts for run in _numbers(text)), dtype=np.int64))

    def shared(self, own: NDArray[np.int64]) -> set[int]:
        """Those of a text's `runs` that they have too."""
        if not len(own) or not len(self._runs):
            return set()
        places = np.searchsorted(self._runs, own).clip(max=len(self._runs) - 1)
        return set(own[self._runs[places] == own].tolist())


def runs(text: str) -> NDArray[np.int64]:
    """A number for each run of thirteen words; equal runs have equal numbers, in one process."""
    return np.fromiter(_numbers(text), dtype=np.int64)


def _numbers(text: str) -> Iterator[int]:
    if len(text) < 2 * RUN:
        return
    words = WORD.findall(text.casefold())
    for at in range(len(words) - _BLANKS):
        yield hash(" ".join(words[at : at + RUN]))
