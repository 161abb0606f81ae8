"""Sequences whose items are made when they are asked for, so that a million rows need not stand in memory."""

from __future__ import annotations

import operator
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Generic, SupportsIndex, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

S = TypeVar("S")
T = TypeVar("T")


class View(Sequence[T]):
    """A sequence that makes each item anew; a slice of it is a view as well, and equality is that of the items."""

    __hash__ = None  # type: ignore[assignment]

    @abstractmethod
    def item(self, index: int) -> T:
        """The item at `index`, from 0 to the length less one."""

    @overload
    def __getitem__(self, index: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return Picked(self, range(len(self))[index])
        place, size = operator.index(index), len(self)
        if not -size <= place < size:
            raise IndexError(f"index {place} of {size} items")
        return self.item(place if place >= 0 else place + size)

    def __iter__(self) -> Iterator[T]:
        return map(self.item, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self):,} items>"


def reader(base: Sequence[T]) -> Callable[[int], T]:
    """What gives the item at an index that is known to be there: checked once, however many views lie on each other."""
    return base.item if isinstance(base, View) else base.__getitem__


class Picked(View[T]):
    """Some items of a sequence: memory holds their indices.

    Args:
        base: The sequence.
        indices: `[items]` indices in it.
    """

    def __init__(self, base: Sequence[T], indices: NDArray[np.integer[Any]] | range) -> None:
        self.base = base
        self.indices = indices
        self._read = reader(base)

    def __len__(self) -> int:
        return len(self.indices)

    def item(self, index: int) -> T:
        """The base's item at the index kept here."""
        return self._read(int(self.indices[index]))


class Mapped(View[T], Generic[S, T]):
    """What `make` gives for each item of a sequence.

    Args:
        base: The sequence.
        make: Pure: it is called again at each access.
    """

    def __init__(self, base: Sequence[S], make: Callable[[S], T]) -> None:
        self.base = base
        self.make = make
        self._read = reader(base)

    def __len__(self) -> int:
        return len(self.base)

    def item(self, index: int) -> T:
        """Made of the base's item."""
        return self.make(self._read(index))


class Joined(View[T]):
    """Sequences one after the other.

    Args:
        parts: The sequences.
    """

    def __init__(self, parts: Sequence[Sequence[T]]) -> None:
        self.parts = parts
        self._starts = [0, *accumulate(map(len, parts))]
        self._read = [reader(part) for part in parts]

    def __len__(self) -> int:
        return self._starts[-1]

    def item(self, index: int) -> T:
        """The item of the part that holds it."""
        part = bisect_right(self._starts, index) - 1
        return self._read[part](index - self._starts[part])

    def __iter__(self) -> Iterator[T]:
        return (item for part in self.parts for item in part)
