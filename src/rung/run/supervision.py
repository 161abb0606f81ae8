"""What a run learns from, checked before its first step and shown token by token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rung.errors import TrainingError
from rung.objectives.base import Objective
from rung.types import IGNORED, Batch, Row, Tokens

LEARNED = ("⟦", "⟧")
"""Stand around supervised tokens; the terminal colours what is between them."""

_SHOWN = 3
_LONGEST = 48


def require_supervision(
    objective: Objective, rows: Sequence[Row], tokenizer: Any, sources: Mapping[str, str] | None = None
) -> None:
    """Refuse rows from which nothing would be learned, and show what the model would have seen.

    Args:
        objective: Counts what it learns from.
        rows: The encoded training rows.
        tokenizer: Turns their tokens back into text.
        sources: Row id to where it stood, `file:line`.

    Raises:
        TrainingError: A row has no supervised token. Three rows are shown, such rows first.
    """
    bare = [row for row in rows if not any(objective.counts(Batch((row,))).values())]
    if not bare:
        return
    rest = [row for row in rows if row not in bare] if len(bare) < _SHOWN else []
    shown = [_shown(row, tokenizer, (sources or {}).get(row.id, row.id)) for row in [*bare, *rest][:_SHOWN]]
    raise TrainingError(
        f"{len(bare)} of {len(rows)} training rows have nothing to learn from: "
        f"{', '.join(row.id for row in bare[:_SHOWN])}\n"
        f"  Supervised tokens stand in {' '.join(LEARNED)}:\n" + "\n".join(f"  {line}" for line in shown),
        "Their answers are empty or were cut away: raise max_length or mend the rows.",
    )


def lengths_said(rows: Sequence[Row], sources: Mapping[str, str], longest: int) -> list[str]:
    """Sentences on training rows that were cut, and on conversations that are not one sequence; none where all is well.

    Args:
        rows: The encoded rows.
        sources: Row id to where it stood, `file:line`.
        longest: Tokens a row may have.
    """
    cut = several = learned = 0
    two_sided = any(one.source_ids is not None for row in rows[:1] for one in row.sequences)
    first: list[str] = []
    for row in rows:
        if row.truncated:
            cut += 1
            if len(first) < _SHOWN:
                first.append(f"{sources.get(row.id, row.id)} ({row.truncated:,} tokens)")
        if len(row.sequences) > 1:
            several, learned = several + 1, learned + len(row.sequences)
    said = []
    if cut:
        said.append(
            f"{cut} of {len(rows)} training rows are longer than max_length={longest}: their text was cut, "
            f"for example {', '.join(first)}."
        )
    if several:
        why = (
            "each turn of an encoder-decoder is read anew with what stands before it."
            if two_sided
            else "the chat template does not write their earlier turns as it asks for them."
        )
        said.append(f"{several:,} of {len(rows):,} training rows are learned in {learned:,} sequences: {why}")
    return said


def marked(sequence: Tokens, tokenizer: Any, longest: int = _LONGEST) -> str:
    """A sequence as text, its supervised tokens in `LEARNED`; the middle of a long one is left out.

    Args:
        sequence: `[T]` tokens with their labels.
        tokenizer: Turns them back into text.
        longest: Tokens that are shown.
    """
    labels = sequence.labels or (IGNORED,) * len(sequence)
    if sequence.source_ids is None:
        pairs = [(token, label != IGNORED) for token, label in zip(sequence.input_ids, labels, strict=True)]
    else:  # the decoder reads its labels one place later
        pairs = [(token, False) for token in sequence.source_ids]
        pairs += [(label, True) for label in labels if label != IGNORED]
    left_out = len(pairs) - longest
    if left_out <= 0:
        return _text(pairs, tokenizer)
    half = longest // 2
    return f"{_text(pairs[:half], tokenizer)} [{left_out} tokens] {_text(pairs[-half:], tokenizer)}"


def _text(pairs: Sequence[tuple[int, bool]], tokenizer: Any) -> str:
    parts = []
    for is_learned, group in groupby(pairs, key=lambda pair: pair[1]):
        text = tokenizer.decode([token for token, _ in group]).replace("\n", "\\n")
        parts.append(f"{LEARNED[0]}{text}{LEARNED[1]}" if is_learned else text)
    return "".join(parts)


def _shown(row: Row, tokenizer: Any, place: str) -> str:
    learned = sum(label != IGNORED for one in row.sequences for label in one.labels or ())
    texts = " | ".join(marked(one, tokenizer) for one in row.sequences)
    cut = f", {row.truncated} cut off" if row.truncated else ""
    return f"{place}: {sum(one.size for one in row.sequences)} tokens, {learned} supervised{cut}: {texts}"
