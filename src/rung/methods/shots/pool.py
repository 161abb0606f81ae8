"""A pool of embedded examples, from which each request gets its own shots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rung.compute.embedding import text_encoder
from rung.errors import ConfigError
from rung.methods.base import Scorer
from rung.methods.shots.selection import solved
from rung.tasks.base import Task
from rung.types import Pool, Prompt, Record


def pooled(task: Task, rows: Sequence[Record], prompt: Prompt, count: int, encoder: str, nearest_last: bool) -> Prompt:
    """A prompt that shows each request the rows most like it.

    Args:
        task: The task.
        rows: The examples to choose from; where there are `count`, only their order depends on the request.
        prompt: Everything else.
        count: Shots per request.
        encoder: Reference of the model that tells likeness.
        nearest_last: Whether the most like one comes last.
    """
    model = text_encoder(encoder)
    vectors = model.embed([task.asked(record.fields) for record in rows])
    shots = tuple(solved(task, record) for record in rows)
    return replace(prompt, shots=(), pool=Pool(shots, vectors, encoder, model.hash, count, nearest_last))


def fitting(
    scorer: Scorer, task: Task, rows: Sequence[Record], prompt: Prompt, count: int, room: int
) -> tuple[list[Record], int]:
    """The rows short enough that any `count` of them fit, and the tokens that any such choice takes at most.

    Args:
        scorer: Counts tokens.
        task: The task.
        rows: The candidates.
        prompt: The prompt without shots.
        count: Shots per request.
        room: Tokens there are for the prompt with its shots.

    Raises:
        ConfigError: Too few are short enough; says how many shots fit.
    """
    bare = task.content_free(rows[0], "")
    empty = scorer.count_tokens(bare, prompt)
    sizes = [scorer.count_tokens(bare, replace(prompt, shots=(solved(task, row),))) - empty for row in rows]

    def short(number: int) -> list[Record]:
        return [row for row, size in zip(rows, sizes, strict=True) if empty + number * size <= room]

    kept = short(count)
    # One more than is shown: a request that stands in the pool is not shown itself.
    if len(kept) < min(count + 1, len(rows)):
        fit = max((number for number in range(1, count) if len(short(number)) > number), default=0)
        raise ConfigError(
            f"method.num_shots={count}: only {len(kept)} of {len(rows)} training rows are short enough that any "
            f"{count} of them fit in {room} tokens, which is what the model's {scorer.max_length} leave to shots",
            f"{fit} shots fit: set num_shots={fit}." if fit else "Not one fits: take zero_shot.",
        )
    longest = max(size for row, size in zip(rows, sizes, strict=True) if empty + count * size <= room)
    return kept, empty + count * longest
