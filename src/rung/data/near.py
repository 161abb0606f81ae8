"""Near duplicates: MinHash signatures, candidates by banding, and a check of the true Jaccard similarity.

Broder, "On the resemblance and containment of documents", 1997 (https://doi.org/10.1109/SEQUEN.1997.666900);
banding: Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3. At a similarity of 0.8 one near
duplicate in 6,000 escapes 16 bands of 4; the check leaves no false ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rung.data.spool import mapped_array

THRESHOLD = 0.8
"""Jaccard similarity of the sets of shingles from which two texts count as near duplicates."""

_SHINGLE = 5
_BANDS, _BAND_ROWS = 16, 4
_LONGEST = 20_000  # Characters compared: keeps a file of books affordable.
_LONGEST_BUCKET = 256  # Texts looked at per band: keeps a file of forms affordable.
_LIKELY = 0.6  # Share of equal minima below which the true similarity, within four deviations, is below the threshold.

_QUERIES_AT_ONCE = 2_000
_AT_ONCE = 4_000  # Characters hashed together: 1 MB of hashes stays in the processor's cache.
_MULTIPLIERS = np.random.Philox(key=5).random_raw(_BANDS * _BAND_ROWS).astype(np.uint32) | np.uint32(1)
_HIGHEST = np.iinfo(np.uint32).max
_POWERS = np.cumprod(np.full(_SHINGLE, 0x9E3779B97F4A7C15, dtype=np.uint64), dtype=np.uint64)


def near_matches(queries: Sequence[str], others: Sequence[str]) -> dict[int, int]:
    """For each query that is a near duplicate of one of `others`: its index, and the likest other's index.

    Args:
        queries: Normalised texts.
        others: Normalised texts.

    Returns:
        Query index to index in `others`, for similarities of at least `THRESHOLD`.
    """
    if not queries or not others:
        return {}
    index = _Index(others)
    found: dict[int, int] = {}
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        texts = list(queries[start : start + _QUERIES_AT_ONCE])
        own = _signatures(texts, len(texts))
        for query, candidates in index.candidates(own, least=1):
            match = _likest(texts[query], own[query], index, others, candidates)
            if match is not None:
                found[start + query] = match
    return found


def near_repeats(texts: Sequence[str]) -> dict[int, int]:
    """For each text that is a near duplicate of an earlier one: its index, and the likest earlier text's.

    Args:
        texts: Normalised texts.
    """
    if not texts:
        return {}
    index = _Index(texts)
    found: dict[int, int] = {}
    for start in range(0, len(texts), _QUERIES_AT_ONCE):
        own = index.signatures[start : start + _QUERIES_AT_ONCE]
        for query, candidates in index.candidates(own, least=2):  # a text is its own candidate
            earlier = candidates[candidates < start + query]
            match = _likest(texts[start + query], own[query], index, texts, earlier)
            if match is not None:
                found[start + query] = match
    return found


def shingles(text: str) -> NDArray[np.uint64]:
    """`[S]` sorted, distinct hashes of all runs of 5 characters; of the whole text where it is shorter."""
    return np.unique(_hashes(_codes(text))[: 1 - _SHINGLE])


def jaccard(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> float:
    """Jaccard similarity of two sets, given as sorted distinct values."""
    common = len(np.intersect1d(first, second, assume_unique=True))
    return common / (len(first) + len(second) - common)


def _codes(text: str) -> str:
    """The part of `text` that is compared, filled up to the length of one shingle."""
    return text[:_LONGEST].ljust(_SHINGLE, "\0")


def _hashes(text: str) -> NDArray[np.uint64]:
    """`[characters]` hash of the run that starts at each character; the last four runs reach past the end."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    padded = np.concatenate([codes, np.zeros(_SHINGLE - 1, dtype=np.uint64)])
    sums = np.lib.stride_tricks.sliding_window_view(padded, _SHINGLE) @ _POWERS
    # The finaliser of SplitMix64: sums of neighbouring texts differ little, and minima need well-mixed bits.
    mixed = (sums ^ (sums >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _signatures(texts: Iterable[str], size: int) -> NDArray[np.uint32]:
    """`[size, 64]` minima of the shingles' hashes. Multiplying by an odd number permutes the 32-bit hashes."""
    found = mapped_array((size, _BANDS * _BAND_ROWS), np.uint32)
    done = 0
    for codes in _portions(texts):
        # Many texts at once, as one long text whose runs across a border are ruled out of the minima.
        ends = np.cumsum([len(code) for code in codes])
        # A permutation a row: a text's hashes then lie side by side, and their minimum is taken in one sweep.
        values = (_hashes("".join(codes)) >> np.uint64(32)).astype(np.uint32) * _MULTIPLIERS[:, None]
        for reach in range(1, _SHINGLE):
            values[:, ends - reach] = _HIGHEST
        found[done : done + len(codes)] = np.minimum.reduceat(values, [0, *ends[:-1]], axis=1).T
        done += len(codes)
    return found


def _portions(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts' codes, a few thousand characters at a time."""
    portion: list[str] = []
    size = 0
    for text in texts:
        portion.append(_codes(text))
        size += len(portion[-1])
        if size >= _AT_ONCE:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


class _Index:
    """The texts to be found again, by their bands; in memory or, where they are many, in a file.

    Args:
        texts: Normalised texts.

    Attributes:
        signatures: `[texts, 64]` their signatures.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.signatures = _signatures(texts, len(texts))
        self._keys = mapped_array((_BANDS, len(texts)), np.uint64)
        self._order = mapped_array((_BANDS, len(texts)), np.int32)
        for band in range(_BANDS):
            keys = _band_keys(self.signatures, band)
            self._order[band] = np.argsort(keys, kind="stable")
            self._keys[band] = keys[self._order[band]]

    def candidates(self, own: NDArray[np.uint32], least: int) -> Iterator[tuple[int, NDArray[np.int32]]]:
        """Signatures, and the sorted texts that agree with each on all minima of some band: on one at least `least`."""
        first, last = (np.empty((_BANDS, len(own)), dtype=np.int64) for _ in range(2))
        for band, keys in enumerate(self._keys):
            wanted = _band_keys(own, band)
            first[band], last[band] = (np.searchsorted(keys, wanted, side=side) for side in ("left", "right"))
        last = np.minimum(last, first + _LONGEST_BUCKET)
        for query in map(int, np.flatnonzero((last - first >= least).any(axis=0))):
            runs = [self._order[band, first[band, query] : last[band, query]] for band in range(_BANDS)]
            yield query, np.unique(np.concatenate(runs))


def _band_keys(signatures: NDArray[np.uint32], band: int) -> NDArray[np.uint64]:
    """One number for a band's four minima; should two bands' numbers collide, the check of the similarity tells."""
    start = band * _BAND_ROWS
    return np.asarray(signatures[:, start : start + _BAND_ROWS] @ _POWERS[:_BAND_ROWS])


def _likest(
    text: str,
    signature: NDArray[np.uint32],
    index: _Index,
    others: Sequence[str],
    candidates: NDArray[np.int32],
) -> int | None:
    """The candidate most like a text, where one is like enough."""
    likely = candidates[(index.signatures[candidates] == signature).mean(axis=1) >= _LIKELY]
    if len(likely) == 0:
        return None
    words = shingles(text)
    similarities = [jaccard(words, shingles(others[int(other)])) for other in likely]
    best = int(np.argmax(similarities))
    return int(likely[best]) if similarities[best] >= THRESHOLD else None
