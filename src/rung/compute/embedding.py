"""Embeddings of texts by an encoder: what likeness between examples and requests is told by."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from rung.compute.pooling import pooled
from rung.compute.states import states
from rung.errors import ConfigError
from rung.models.families import describe
from rung.models.load import load
from rung.models.tokenizer import encode_texts
from rung.types import Tokens

_BATCH = 64
_LONGEST = 256
"""Tokens of a text that are read: starter sentence encoders were trained on no more."""
_KEPT = 4096


class TextEncoder:
    """An encoder on the CPU in fp32, whatever the prompted model runs on: requests are embedded one at a time.

    Args:
        reference: What the user wrote as `encoder`.

    Raises:
        ConfigError: The model is no encoder.
        ModelError: It can't be found or loaded.
    """

    def __init__(self, reference: str) -> None:
        loaded = load(reference, torch.float32, "cpu")
        if loaded.facts.kind != "encoder":
            raise ConfigError(
                f"method.encoder={reference} is of kind {loaded.facts.kind}, and likeness is told by an encoder",
                "Set encoder=minilm-l6, or another encoder.",
            )
        assert isinstance(loaded.module, PreTrainedModel)
        self.tokenizer = loaded.tokenizer
        self.hash = loaded.facts.base_hash
        self.family = describe(loaded.module, "encoder")
        self._longest = min(_LONGEST, self.family.max_length)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """`[N, H]` mean-pooled states, each of length 1 (Reimers & Gurevych 2019, arXiv 1908.10084)."""
        encoded = encode_texts(self.tokenizer, [(text, None) for text in texts], self._longest)
        rows = [Tokens(tuple(ids), None, None if types is None else tuple(types)) for ids, types, _ in encoded]
        order = sorted(range(len(rows)), key=lambda row: (len(rows[row]), row))
        found = np.zeros((len(rows), int(self.family.module.config.hidden_size)), dtype=np.float32)
        with torch.inference_mode():
            for at in range(0, len(order), _BATCH):
                batch = order[at : at + _BATCH]
                vectors = pooled(partial(states, self.family), [rows[row] for row in batch], "mean")
                found[batch] = torch.nn.functional.normalize(vectors, dim=1).numpy()
        return found


@cache
def text_encoder(reference: str) -> TextEncoder:
    """The encoder of a reference, loaded once a process."""
    return TextEncoder(reference)


@lru_cache(maxsize=_KEPT)
def embedding(reference: str, text: str) -> NDArray[np.float32]:
    """`[H]` embedding of one text alone: it depends on no other text, not in a bit."""
    return text_encoder(reference).embed([text])[0]
