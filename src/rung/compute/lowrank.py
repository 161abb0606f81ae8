"""A frozen linear map with a low-rank term, as one step of the graph.

PyTorch's own graph for `x W^T + b + s (x A^T) B^T` scales and adds whole outputs in passes of their own, and again in
the backward pass. Here the scale goes into the small matrix, the term is added by the matrix product itself, and
nothing is kept for the backward pass but the input and its `r` wide image. The association is the cheap one
throughout: nothing of size `in x out` is ever made. (Cherniuk et al. 2023, "RunLoRA", arXiv 2312.03415, compare the
orders of these products.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable


def lowrank_linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    pair: tuple[torch.Tensor, torch.Tensor],
    scaling: float,
) -> torch.Tensor:
    """`x W^T + b + scaling (x A^T) B^T`, with a gradient in x, A and B alone.

    Args:
        x: `[..., in]`.
        weight: `[out, in]`, frozen.
        bias: `[out]`, frozen, or None.
        pair: `A` `[r, in]` and `B` `[out, r]`, of any float dtype; they are used in that of `x`.
        scaling: Factor on the low-rank term.

    Returns:
        `[..., out]` in the dtype of `x`.
    """
    out = _LowRank.apply(x, weight, bias, *pair, scaling)
    assert isinstance(out, torch.Tensor)
    return out


def plain_lowrank_linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    pair: tuple[torch.Tensor, torch.Tensor],
    scaling: float,
) -> torch.Tensor:
    """The plain path of `lowrank_linear`: the same map written as its formula."""
    down, up = (part.to(x.dtype) for part in pair)
    return torch.nn.functional.linear(x, weight, bias) + (x @ down.T @ up.T) * scaling


class _LowRank(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        # Scaled in the wider of the two dtypes, and rounded once.
        small = down.to(x.dtype)
        large = (up.to(torch.promote_types(up.dtype, x.dtype)) * scaling).to(x.dtype)
        image = rows @ small.T
        out = rows @ weight.T if bias is None else torch.addmm(bias, rows, weight.T)
        out.addmm_(image, large.T)
        ctx.save_for_backward(rows, image, small, large, weight)
        ctx.scaling, ctx.shape, ctx.dtypes = scaling, x.shape, (down.dtype, up.dtype)
        return out.view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        rows, image, small, large, weight = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, len(weight))
        through = gradient @ large
        into_x = None
        if ctx.needs_input_grad[0]:
            into_x = (gradient @ weight).addmm_(through, small).view(ctx.shape)
        into_down = (through.T @ rows).to(ctx.dtypes[0])
        into_up = (gradient.T @ image).to(ctx.dtypes[1]).mul_(ctx.scaling)
        return into_x, None, None, into_down, into_up, None
