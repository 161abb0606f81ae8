"""The cheap layers between the matrix products, each as one step of the graph: norm, gate, rotation.

Written as formulas over whole tensors, forward and backward, that keep no more than their inputs. The same formulas run
as they stand, or compiled by `torch.compile` into one pass each (`compiled`), which pays in long runs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

_compiled: ContextVar[bool] = ContextVar("rung_compiled", default=False)


@contextmanager
def compiled(wanted: bool) -> Iterator[None]:
    """Within: the formulas run compiled, or as they stand."""
    token = _compiled.set(wanted)
    try:
        yield
    finally:
        _compiled.reset(token)


@cache
def _compile(formula: Callable[..., Any]) -> Callable[..., Any]:
    # One thread: a pool of compiling processes would outlive a run that is killed.
    return torch.compile(formula, dynamic=True, options={"compile_threads": 1})


def _forward(ctx: Any, formula: Callable[..., Any], *args: Any) -> Any:
    # The backward pass may run in another thread, where the variable is not set.
    ctx.compiled = _compiled.get()
    return _backward(ctx, formula, *args)


def _backward(ctx: Any, formula: Callable[..., Any], *args: Any) -> Any:
    if not ctx.compiled:
        return formula(*args)
    # The compiler looks into a tensor's history, which ends at this step of the graph.
    return _compile(formula)(*(arg.detach() if isinstance(arg, torch.Tensor) else arg for arg in args))


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    wide = _wide(x)
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight * (wide * scale).to(x.dtype), scale


def _norm_backward(gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    wide, pushed = _wide(x), _wide(gradient * weight)
    along = (pushed * wide).mean(-1, keepdim=True) * scale.square()
    return ((pushed - wide * along) * scale).to(x.dtype)


def _gate(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return silu(gate) * up


def _gate_backward(gradient: torch.Tensor, gate: torch.Tensor, up: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ops.aten.silu_backward(gradient * up, gate), gradient * silu(gate)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    cos, sin = (half.unsqueeze(1) for half in (cos, sin))
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        out, scale = _forward(ctx, _norm, x, weight, eps)
        ctx.save_for_backward(x, weight, scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, scale = ctx.saved_tensors
        into_x = _backward(ctx, _norm_backward, gradients[0], x, weight, scale) if ctx.needs_input_grad[0] else None
        into_weight = None
        if ctx.needs_input_grad[1]:
            rows = _wide(gradients[0]) * (_wide(x) * scale).to(x.dtype)
            into_weight = rows.flatten(0, -2).sum(0).to(weight.dtype)
        return into_x, into_weight, None


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return _forward(ctx, _gate, gate, up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _backward(ctx, _gate_backward, gradients[0], *ctx.saved_tensors)


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return _forward(ctx, _rotate, x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        cos, sin = ctx.saved_tensors
        return _backward(ctx, _rotate, gradients[0], cos, -sin), None, None


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """`weight * x / rms(x)` over the last dimension, in fp32 arithmetic at least (arXiv 1910.07467)."""
    return _tensor(_RmsNorm.apply(x, weight, eps))


def gate(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """`silu(gate) * up` (Shazeer 2020, "GLU Variants Improve Transformer", arXiv 2002.05202)."""
    return _tensor(_Gate.apply(gate, up))


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions over half-split pairs (Su et al. 2021, arXiv 2104.09864).

    Args:
        x: `[N, heads, d]`.
        cos: `[N, d / 2]`.
        sin: As cos.

    Returns:
        `[N, heads, d]`.
    """
    return _tensor(_Rotate.apply(x, cos, sin))


def _tensor(value: Any) -> torch.Tensor:
    assert isinstance(value, torch.Tensor)
    return value
