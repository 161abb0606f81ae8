"""Gradients of weights that are stored in low precision, summed in fp32 beside their masters."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter


class MasterGradient:
    """Adds a finished low-precision gradient to its master's fp32 one, whose memory is kept from step to step.

    Fresh memory of this size costs more than the sums: the system clears it page by page.
    """

    def __init__(self, master: Parameter) -> None:
        self.master = master
        self._held: Tensor | None = None
        self._stale = False
        self._rows: list[Tensor] = []

    @torch.no_grad()
    def __call__(self, copy: Tensor) -> None:
        gradient, copy.grad = copy.grad, None
        assert gradient is not None
        first = self.master.grad is None
        if self._held is None:
            self._held = torch.zeros_like(self.master)
        if gradient.is_sparse:
            if first and self._stale:
                self._held.zero_()
                self._stale = False
            rows = gradient._indices()[0]
            self._held.index_add_(0, rows, gradient._values().to(self._held.dtype))
            self._rows.append(rows)
        else:
            self._held.copy_(gradient) if first else self._held.add_(gradient)
            self._stale = True
        self.master.grad = self._held

    def rows(self) -> Tensor | None:
        """The rows that may be other than zero, each once; None where all may be."""
        return None if self._stale or not self._rows else torch.cat(self._rows).unique()

    @torch.no_grad()
    def clear(self) -> None:
        """Make the kept memory ready for the next step: zeros, or stale all over and to be written first."""
        if self._rows and not self._stale:
            assert self._held is not None
            self._held.index_fill_(0, torch.cat(self._rows), 0)
        self._rows = []

    def free(self) -> None:
        """Let the kept memory go."""
        self._held, self._stale, self._rows = None, False, []
