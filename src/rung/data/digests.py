"""Texts compared by sixteen bytes of their SHA-256 each: a million of them take 16 MB, however long they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_BYTES = 16


class Digests:
    """The digests of texts, in the order they were added.

    Args:
        texts: Texts to begin with.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes = bytearray()
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Add a text's."""
        self._bytes += hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).digest()[:_BYTES]

    def numbers(self) -> NDArray[np.uint64]:
        """`[texts, 2]` their halves; they sort as the digests in hexadecimal do."""
        return np.frombuffer(self._bytes, dtype=">u8").astype(np.uint64).reshape(-1, 2)


def ordered(numbers: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Digests sorted: `[n]` indices, equal ones in the order they came, and whether each is the first of its kind.

    Args:
        numbers: `[n, 2]` as `Digests.numbers` gives.
    """
    order = np.lexsort((numbers[:, 1], numbers[:, 0]))
    along = numbers[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (along[1:] != along[:-1]).any(axis=1)
    return order, is_first


def first_equal(numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
    """`[n]` for each digest the index of the first that equals it: its own, where none came before."""
    order, is_first = ordered(numbers)
    found = np.empty(len(order), dtype=np.int64)
    found[order] = order[is_first][np.cumsum(is_first) - 1]
    return found


def repeats(numbers: NDArray[np.uint64]) -> NDArray[np.int32]:
    """`[n]` for each of `[n]` numbers, how many equal ones came before."""
    order = np.argsort(numbers, kind="stable")
    places = np.arange(len(order))
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = numbers[order][1:] != numbers[order][:-1]
    found = np.empty(len(order), dtype=np.int32)
    found[order] = places - np.maximum.accumulate(np.where(is_first, places, 0))
    return found


def distinct(numbers: NDArray[np.uint64]) -> int:
    """How many different digests there are."""
    return int(ordered(numbers)[1].sum())
