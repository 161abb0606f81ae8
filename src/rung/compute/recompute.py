"""Gradient checkpointing: a layer keeps its input alone, and is computed again when its gradient is wanted.

Paper: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174. The library's own switch
works on modules in training mode only, and the frozen body under an adapter is kept in evaluation mode (it must not
drop anything); so the layers are wrapped here. What is recomputed sees the plan and the random numbers of the first
time: gradients are the same to the bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from rung.models.families import Family

Forward = Callable[..., Any]


def recompute_layers(family: Family) -> None:
    """Recompute every repeated block in the backward pass from here on; passes without gradients stay as they are.

    Args:
        family: The model; its layers are changed in place.
    """
    for layer in family.all_layers():
        layer.forward = _recomputed(layer.forward)


def _recomputed(forward: Forward) -> Forward:
    @functools.wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        # The plan is a context variable; by the time of the backward pass its context has been left.
        context = copy_context()
        return checkpoint(functools.partial(context.run, forward), *args, use_reentrant=False, **kwargs)

    return run
