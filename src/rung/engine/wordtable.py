"""AdamW on a word table of which a run reads few rows.

A row that no text has named keeps moments of zero, so AdamW without decay leaves it as it is. The others are gathered,
stepped by the same kernel, and written back: the same bits, without a walk over the whole table and its moments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.adamw import adamw

_LANES = 16
"""Numbers that a kernel takes at once at most: rows of whole such groups are summed alike wherever they lie."""
_FEW = 3
"""Rows are few up to one in so many: gathering and writing back cost about as much as stepping twice as many."""


class WordTable:
    """A master weight, `[words, H]`, and the rows of it that ever had a gradient.

    Args:
        master: The weight.
        group: AdamW's settings for it; the learning rate there is that of the step.
    """

    def __init__(self, master: Parameter, group: Mapping[str, Any]) -> None:
        self.master = master
        self.group = group
        self._known: Tensor | None = torch.zeros(len(master), dtype=torch.bool, device=master.device)

    @staticmethod
    def suits(master: Tensor, group: Mapping[str, Any]) -> bool:
        """Whether a weight's rows can be stepped apart; decay moves all of them."""
        return master.ndim == 2 and master.shape[1] % _LANES == 0 and group["weight_decay"] == 0

    def read(self, rows: Tensor | None) -> None:
        """Note the rows that have a gradient in this step; None = all may have one."""
        if rows is None:
            self._known = None
        elif self._known is not None:
            self._known[rows] = True

    def few(self) -> Tensor | None:
        """`[n]` rows that a step may move; None where they are so many that the whole is stepped as fast."""
        if self._known is None:
            return None
        rows = self._known.nonzero().squeeze(1)
        return rows if len(rows) * _FEW <= len(self.master) else None

    def step(self, rows: Tensor, state: dict[str, Tensor]) -> None:
        """One step of AdamW on some rows.

        Args:
            rows: All that may move.
            state: AdamW's of the whole weight, made here before the first step.
        """
        if not state:
            self._begin(state)
        whole = [self.master.detach(), state["exp_avg"], state["exp_avg_sq"]]
        weights, first, second = parts = [one.index_select(0, rows) for one in whole]
        assert self.master.grad is not None
        beta1, beta2 = self.group["betas"]
        adamw(
            [weights],
            [self.master.grad.index_select(0, rows)],
            [first],
            [second],
            [],
            [state["step"]],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=self.group["lr"],
            weight_decay=0.0,
            eps=self.group["eps"],
            maximize=False,
            fused=self.group["fused"],
            foreach=self.group["foreach"],
        )
        for one, part in zip(whole, parts, strict=True):
            one.index_copy_(0, rows, part)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Know the rows again from the moments of a checkpoint: none without moments has ever moved."""
        known = torch.zeros(len(self.master), dtype=torch.bool, device=self.master.device)
        for slot in ("exp_avg", "exp_avg_sq"):
            if slot in state:
                known |= (state[slot] != 0).any(1)
        self._known = known

    def _begin(self, state: dict[str, Tensor]) -> None:
        device = self.master.device if self.group["fused"] else "cpu"
        state["step"] = torch.zeros((), dtype=torch.float32, device=device)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(self.master), torch.zeros_like(self.master)
