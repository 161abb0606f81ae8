"""Which beginnings the sequences of a batch have in common: a radix trie of their token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

MIN_SHARED = 4
"""Shared runs shorter than this many tokens are recomputed: the extra attention call costs more."""


@dataclass(slots=True)
class Node:
    """A run of tokens `[start, end)` common to `rows` (indices of sequences)."""

    rows: list[int]
    start: int
    end: int
    children: list[Node] = field(default_factory=list)
    size: int = 0

    @property
    def length(self) -> int:
        """Tokens of the run."""
        return self.end - self.start


def leaf(sequences: Sequence[Sequence[int]], row: int) -> Node:
    """A whole sequence, sharing nothing."""
    return Node([row], 0, len(sequences[row]), size=len(sequences[row]))


def trie(sequences: Sequence[Sequence[int]], rows: list[int]) -> list[Node]:
    """The radix trie of the sequences as a list of roots."""
    ordered = sorted(rows, key=lambda row: tuple(sequences[row]))
    top = Node(ordered, 0, 0)
    stack = [(top, ordered, 0, 0)]
    created: list[Node] = [top]
    while stack:
        parent, members, start, known = stack.pop()
        for group in _split(sequences, members, known):
            common = _common(sequences, group, known)
            repeated = [row for row in group if len(sequences[row]) == common]
            if len(repeated) == len(group) or common - start >= MIN_SHARED:
                node = Node(group, start, common)
                parent.children.append(node)
                created.append(node)
                rest = [row for row in group if len(sequences[row]) > common]
                if rest:
                    stack.append((node, rest, common, common))
            else:
                for row in repeated:
                    node = Node([row], start, common)
                    parent.children.append(node)
                    created.append(node)
                rest = [row for row in group if len(sequences[row]) > common]
                stack.append((parent, rest, start, common))
    for node in reversed(created):
        node.size = node.length + sum(child.size for child in node.children)
    return top.children


def _split(sequences: Sequence[Sequence[int]], members: list[int], at: int) -> list[list[int]]:
    """Members (in sorted order) grouped by their token at position `at`."""
    groups: list[list[int]] = []
    for row in members:
        if groups and sequences[groups[-1][0]][at] == sequences[row][at]:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _common(sequences: Sequence[Sequence[int]], group: list[int], known: int) -> int:
    """Length of the common beginning: in sorted order the first and last member differ soonest."""
    first, last = sequences[group[0]], sequences[group[-1]]
    end = min(len(first), len(last))
    at = known
    while at < end and first[at] == last[at]:
        at += 1
    return at
