"""A frozen linear map with a low-rank term, as one step of the graph.

PyTorch's own graph for `x W^T + b + s (x A^T) B^T` scales and adds whole outputs in passes of their own, and again in
the backward pass. Here the scale goes into the small matrix, the term is added by the matrix product itself, and
nothing is kept for the backward pass but the input and its `r` wide image. The association is the cheap one
throughout: `B A`, of the size of the map, is never made. (Cherniuk et al. 2023, "RunLoRA", arXiv 2312.03415, compare
the orders of these products.)

Map and term are rounded once, together. Added to an output that has been rounded to bf16 before, a term of less than
half of its last digit is lost, and in the first steps of a training most terms are: with entries of 1e-4 in `B` a
quarter of the term arrived. So the term is made first, small and with digits of its own, and the map's product is
added to it where products are summed, in fp32.
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


def linear_beside(term: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`x W^T + b + term`, map and term rounded together, in PyTorch's own graph.

    Args:
        term: `[..., out]`.
        x: `[..., in]`.
        weight: `[out, in]`.
        bias: `[out]` or None.

    Returns:
        `[..., out]`.
    """
    out = torch.addmm(term.flatten(0, -2), x.flatten(0, -2), weight.T).view(term.shape)
    return out if bias is None else out + bias


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
        out = _rounded_once(rows, weight, bias, image, large)
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
            into_x = (through @ small).addmm_(gradient, weight).view(ctx.shape)
        into_down = (through.T @ rows).to(ctx.dtypes[0])
        into_up = (gradient.T @ image).to(ctx.dtypes[1]).mul_(ctx.scaling)
        return into_x, None, None, into_down, into_up, None


def _rounded_once(
    rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, image: torch.Tensor, large: torch.Tensor
) -> torch.Tensor:
    """`[N, out]`: map, bias and term, rounded to the dtype together; without a term the bits of `linear`."""
    if bias is None:
        return (image @ large.T).addmm_(rows, weight.T)
    if rows.dtype.itemsize >= 4:
        return torch.addmm(bias, image, large.T).addmm_(rows, weight.T)
    # A product has room for one summand, and the bias beside the term would swallow it.
    return torch.addmm(bias, torch.cat([rows, image], dim=1), torch.cat([weight, large], dim=1).T)
