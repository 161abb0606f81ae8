"""Training text that holds test text: runs of thirteen words in common.

Brown et al., "Language Models are Few-Shot Learners", 2020, appendix C (https://arxiv.org/abs/2005.14165): a run of
13 words of a test text, in lower case and without punctuation, that also stands in training text. A run that many
training texts share is a form's wording and says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rung.data.lexical import WORD

RUN = 13
"""Words in a row that count as the same text."""

_BLANKS = RUN - 1


class Runs:
    """The runs of thirteen words of some texts.

    Args:
        texts: The texts.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._runs = {run for text in texts for run in runs(text)}

    def shared(self, text: str) -> set[int]:
        """The runs that `text` has in common with them."""
        return self._runs.intersection(runs(text)) if self._runs else set()


def runs(text: str) -> Iterator[int]:
    """A number for each run of thirteen words; equal runs have equal numbers, in one process."""
    if len(text) < 2 * RUN:
        return
    words = WORD.findall(text.casefold())
    for at in range(len(words) - _BLANKS):
        yield hash(" ".join(words[at : at + RUN]))
