"""Shots that depend on the request: those of a pool that are most like it.

Paper: Liu et al. 2021, "What Makes Good In-Context Examples for GPT-3?", arXiv 2101.06804.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rung.compute.embedding import embedding, text_encoder
from rung.errors import ArtifactError
from rung.types import Pool, Shot


def nearest_shots(pool: Pool, text: str, asked: Callable[[Mapping[str, Any]], str]) -> tuple[Shot, ...]:
    """The `pool.count` shots most like a text, by the cosine of their embeddings.

    A shot with this very text is left out: a request that stands in the pool is not shown its own answer.

    Args:
        pool: The examples.
        text: What the request asks about.
        asked: What a row asks about, as text.

    Raises:
        ArtifactError: The encoder is not the one that embedded the pool.
    """
    if text_encoder(pool.encoder).hash != pool.encoder_hash:
        raise ArtifactError(
            f"the prompt's examples were embedded by other weights of {pool.encoder} than are there now",
            "Point `encoder` to the weights it was made with, or run again with --fresh.",
        )
    likeness = pool.embeddings @ embedding(pool.encoder, text)
    chosen: list[int] = []
    for at in np.argsort(-likeness, kind="stable").tolist():
        if len(chosen) == pool.count:
            break
        if asked(pool.shots[at].fields) != text:
            chosen.append(at)
    return tuple(pool.shots[at] for at in (reversed(chosen) if pool.nearest_last else sorted(chosen)))
