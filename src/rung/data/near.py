"""Near duplicates: MinHash signatures, candidates by banding, and a check of the true Jaccard similarity.

Broder, "On the resemblance and containment of documents", 1997 (https://doi.org/10.1109/SEQUEN.1997.666900);
banding: Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3. At a similarity of 0.8 one near
duplicate in 6,000 escapes 16 bands of 4; the check leaves no false ones.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.8
"""Jaccard similarity of the sets of shingles from which two texts count as near duplicates."""

_SHINGLE = 5
_BANDS, _BAND_ROWS = 16, 4
_LONGEST = 20_000  # Characters compared: keeps a file of books affordable.
_MOST_CANDIDATES = 50  # Checked per text, likest first: keeps a file of forms affordable.

_MULTIPLIERS = np.random.Philox(key=5).random_raw(_BANDS * _BAND_ROWS) | np.uint64(1)
_POWERS = np.cumprod(np.full(_SHINGLE, 0x9E3779B97F4A7C15, dtype=np.uint64), dtype=np.uint64)


def near_matches(queries: Sequence[str], others: Sequence[str]) -> dict[int, int]:
    """For each query that is a near duplicate of one of `others`: its index, and the likest other's index.

    Args:
        queries: Normalised texts.
        others: Normalised texts.

    Returns:
        Query index to index in `others`, for similarities of at least `THRESHOLD`.
    """
    buckets: defaultdict[bytes, list[int]] = defaultdict(list)
    for index, text in enumerate(others):
        for band in _bands(shingles(text)):
            buckets[band].append(index)
    found: dict[int, int] = {}
    for index, text in enumerate(queries):
        own = shingles(text)
        shared = Counter(other for band in _bands(own) for other in buckets.get(band, ()))
        likest = sorted(shared.items(), key=lambda item: (-item[1], item[0]))[:_MOST_CANDIDATES]
        scored = [(jaccard(own, shingles(others[other])), -other) for other, _ in likest]
        if scored and max(scored)[0] >= THRESHOLD:
            found[index] = -max(scored)[1]
    return found


def shingles(text: str) -> NDArray[np.uint64]:
    """`[S]` sorted, distinct hashes of all runs of 5 characters; of the whole text where it is shorter."""
    codes = np.frombuffer(text[:_LONGEST].encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    if len(codes) < _SHINGLE:
        codes = np.pad(codes, (0, _SHINGLE - len(codes)))
    sums = np.lib.stride_tricks.sliding_window_view(codes, _SHINGLE) @ _POWERS
    # The finaliser of SplitMix64: sums of neighbouring texts differ little, and minima need well-mixed bits.
    mixed = (sums ^ (sums >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.unique(mixed ^ (mixed >> np.uint64(31)))


def jaccard(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> float:
    """Jaccard similarity of two sets, given as sorted distinct values."""
    common = len(np.intersect1d(first, second, assume_unique=True))
    return common / (len(first) + len(second) - common)


def _bands(hashes: NDArray[np.uint64]) -> list[bytes]:
    """One key per band: its number and its four minima. Multiplying by an odd number permutes 64-bit hashes."""
    minima = (hashes[:, None] * _MULTIPLIERS).min(axis=0).reshape(_BANDS, _BAND_ROWS)
    return [bytes([number]) + band.tobytes() for number, band in enumerate(minima)]
