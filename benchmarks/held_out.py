"""The loss all sides are judged by: one function for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks.rows import IGNORED, Encoded


def held_out_loss(causal: Any, rows: Sequence[Encoded], batch: int = 16) -> float:
    """Mean loss of the supervised tokens, padded, in the dtype of the weights, softmax in fp32.

    Args:
        causal: The transformers model (what PEFT or Rung put into it stays in).
        rows: The held-out rows.
        batch: Rows at a time.
    """
    causal.eval()
    causal.set_attn_implementation("sdpa")
    ordered = sorted(rows, key=len)
    parts = [ordered[at : at + batch] for at in range(0, len(ordered), batch)]
    with torch.no_grad():
        losses = torch.cat([scored(causal, *padded(part)) for part in parts])
    return float(losses.mean())


def scored(causal: Any, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Loss of each supervised position of a padded batch; only their states reach the output layer.

    Args:
        causal: The transformers model.
        ids: `[B, T]` ids.
        mask: `[B, T]` 1 where a token is real.
        labels: `[B, T]`, aligned with the ids.

    Returns:
        `[P]` losses in fp32.
    """
    hidden = causal.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels[:, 1:] != IGNORED
    logits = causal.lm_head(hidden[wanted])
    return cross_entropy(logits.float(), labels[:, 1:][wanted], reduction="none")


def padded(rows: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`[B, T]` ids, mask and labels, padded at the right to the longest row."""
    longest = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(row.ids)
        labels[at, : len(row)] = torch.tensor(row.labels)
        mask[at, : len(row)] = 1
    return ids, mask, labels
