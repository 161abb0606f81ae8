"""What a bench's results say besides speed: how right the sides are, and where they choose differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]


def remarks(rounds: Sequence[Mapping[str, Result]]) -> list[str]:
    """Lines of markdown about the last round, in which each side is compared with ours."""
    if not rounds or rounds[-1]["ours"]["status"] != "ok":
        return []
    ours = rounds[-1]["ours"]
    peers = {name: one for name, one in rounds[-1].items() if name != "ours" and one["status"] == "ok"}
    lines = []
    if "accuracy" in ours:
        shares = {"ours": ours, **{name: one for name, one in peers.items() if "accuracy" in one}}
        lines.append("Accuracy: " + ", ".join(f"{name} {one['accuracy']:.3f}" for name, one in shares.items()) + ".")
    alike = {name: one for name, one in peers.items() if one.get("rows_digest") == ours.get("rows_digest")}
    lines += [_choices(name, ours, one) for name, one in alike.items() if "scores" in ours and "scores" in one]
    return [line for text in lines for line in (text, "")]


def _choices(name: str, ours: Result, theirs: Result) -> str:
    """On how many items both choose alike, how far their scores are apart, and how near each differing choice was."""
    pairs = list(zip(ours["scores"], theirs["scores"], strict=True))
    same = [one == other for one, other in zip(ours["choices"], theirs["choices"], strict=True)]
    furthest = max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))
    told = (
        f"The same choice as {name} on {sum(same)} of {len(same)} items; log-probabilities of a choice differ by at "
        f"most {furthest:.2g}."
    )
    near = [
        f"item {at} (margins {_margin(one):.2g} and {_margin(other):.2g})"
        for at, ((one, other), agree) in enumerate(zip(pairs, same, strict=True))
        if not agree
    ]
    return f"{told} Chosen differently: {', '.join(near)}." if near else told


def _margin(scores: Sequence[float]) -> float:
    """By how much the best beats the second."""
    second, best = sorted(scores)[-2:]
    return best - second
