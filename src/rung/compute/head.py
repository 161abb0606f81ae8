"""Log-probabilities of labels without ever holding the logits of all positions."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

CHUNK = 256
"""Positions whose logits exist at one time: 256 x 49,152 words in fp32 is 50 MB."""


def logprobs(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    bias: torch.Tensor | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> torch.Tensor:
    """Log-probability of each label under the output layer.

    Args:
        hidden: `[P, H]` states of the scored positions.
        weight: `[V, H]` output layer.
        labels: `[P]` token ids.
        bias: `[V]` or None.
        softcap: Soft-cap of the logits, or None.
        scale: Factor on the logits.

    Returns:
        `[P]` log-probabilities in fp32 (fp64 for fp64 states), differentiable in hidden, weight and bias.
    """
    if bias is not None or softcap is not None or scale != 1.0 or not len(labels):
        # Autograd would keep the logits of every chunk; so each is made again for its gradient.
        chunks = [
            checkpoint(
                plain_logprobs,
                *(hidden[at : at + CHUNK], weight, labels[at : at + CHUNK], bias, softcap, scale),
                use_reentrant=False,
                preserve_rng_state=False,
            )
            for at in range(0, len(labels), CHUNK)
        ]
        return torch.cat(chunks) if chunks else hidden.sum(dim=1)
    function = _Chunked if weight.requires_grad else _Frozen
    result = function.apply(hidden, weight, labels)
    assert isinstance(result, torch.Tensor)
    return result


def plain_logprobs(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    bias: torch.Tensor | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> torch.Tensor:
    """The plain path of `logprobs`: full logits, log-softmax, gather."""
    found = logits(hidden, weight, bias, softcap, scale)
    return found.gather(1, labels.unsqueeze(1)).squeeze(1) - found.logsumexp(dim=1)


def logits(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> torch.Tensor:
    """`[P, V]` logits under the output layer, in fp32 at least; the arguments are those of `logprobs`."""
    found = _wide(hidden @ weight.T)
    if bias is not None:
        found = found + bias
    found = found * scale if scale != 1.0 else found
    return found if softcap is None else softcap * torch.tanh(found / softcap)


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    """Softmax arithmetic is done in fp32 at least."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _push(scores: torch.Tensor, norm: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Gradient of the labels' log-probabilities in the logits, in the logits' own memory: one at the label, less p."""
    push = scores.sub_(norm.unsqueeze(1)).exp_().neg_()
    return push.scatter_add_(1, labels.unsqueeze(1), torch.ones_like(push[:, :1]).expand(len(push), 1))


class _Frozen(torch.autograd.Function):
    """For a frozen output layer: each position's gradient is made with its logits, so they are never made again.

    (The same thought as Liger's fused loss, Hsu et al. 2024, arXiv 2410.10989, without its need of a mean.)
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        found = []
        into_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for at in range(0, len(labels), CHUNK):
            part = slice(at, at + CHUNK)
            scores = _wide(hidden[part] @ weight.T)
            norm = scores.logsumexp(dim=1)
            found.append(scores.gather(1, labels[part].unsqueeze(1)).squeeze(1) - norm)
            if into_hidden is not None:
                into_hidden[part] = _push(scores, norm, labels[part]).to(hidden.dtype) @ weight
        if into_hidden is not None:
            ctx.save_for_backward(into_hidden)
        return torch.cat(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (into_hidden,) = ctx.saved_tensors
        return (into_hidden * gradients[0].unsqueeze(1)).to(into_hidden.dtype), None, None


class _Chunked(torch.autograd.Function):
    """Keeps only the log-normaliser of each position; backward makes the logits again, chunk by chunk."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        picked, norms = [], []
        for at in range(0, len(labels), CHUNK):
            scores = _wide(hidden[at : at + CHUNK] @ weight.T)
            picked.append(scores.gather(1, labels[at : at + CHUNK].unsqueeze(1)).squeeze(1))
            norms.append(scores.logsumexp(dim=1))
        norm = torch.cat(norms)
        ctx.save_for_backward(hidden, weight, labels, norm)
        return torch.cat(picked) - norm

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        hidden, weight, labels, norm = ctx.saved_tensors
        gradient = gradients[0]
        need_hidden, need_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        into_hidden = torch.empty_like(hidden) if need_hidden else None
        into_weight = torch.zeros_like(weight) if need_weight else None
        for at in range(0, len(labels), CHUNK):
            part = slice(at, at + CHUNK)
            push = _push(_wide(hidden[part] @ weight.T), norm[part], labels[part])
            push = push.mul_(gradient[part].unsqueeze(1)).to(hidden.dtype)
            if into_hidden is not None:
                into_hidden[part] = push @ weight
            if into_weight is not None:
                into_weight.addmm_(push.T, hidden[part])
        return into_hidden, into_weight, None
