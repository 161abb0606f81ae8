"""AdamW on fp32 master weights, with a state that can be saved and restored to the bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import Parameter

from rung.config.base import Config
from rung.engine.mastergradient import MasterGradient
from rung.engine.wordtable import WordTable
from rung.errors import CheckpointError

SLOTS = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps per parameter: first moment, second moment, steps taken."""

_LOW_PRECISION = (torch.bfloat16, torch.float16)
_FUSED_DEVICES = frozenset({"cpu", "cuda"})


class OptimizerConfig(Config):
    """AdamW's settings, under transformers' names (https://arxiv.org/abs/1711.05101)."""

    learning_rate: float = Field(default=5e-5, gt=0, allow_inf_nan=False)
    """Peak learning rate; the schedule scales it."""
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Decoupled decay of matrices; biases, norms and other vectors are never decayed."""
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the first moment."""
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the second moment."""
    adam_epsilon: float = Field(default=1e-8, gt=0, allow_inf_nan=False)
    """Added to the root of the second moment."""


class Optimizer:
    """AdamW over named parameters.

    A parameter stored in bf16 (or fp16) gets an fp32 master: its gradient is added to the master's in fp32 as soon as
    a backward pass has completed it (and `parameter.grad` is freed), the update is made there, and the stored copy is
    refreshed once a step. A parameter in fp32 is its own master. A sparse gradient of a stored copy (an embedding's)
    touches the master's at its own rows alone.

    Args:
        named: Trainable parameters by name, each once.
        config: AdamW's settings.
        precise: What masters start from, by name, where the stored copies were rounded; they become the masters.
        rates: Factors on the learning rate of single parameters, by name.
    """

    def __init__(
        self,
        named: Mapping[str, Parameter],
        config: OptimizerConfig,
        precise: Mapping[str, Tensor] | None = None,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        self.config = config
        self._rates = dict(rates or {})
        held = precise or {}
        self._masters = {
            name: Parameter(held.get(name, parameter.detach()).float())
            if parameter.dtype in _LOW_PRECISION
            else parameter
            for name, parameter in named.items()
        }
        self._copies = {name: parameter for name, parameter in named.items() if parameter is not self._masters[name]}
        self._gradients = {name: MasterGradient(self._masters[name]) for name in self._copies}
        for name, copy in self._copies.items():
            copy.register_post_accumulate_grad_hook(self._gradients[name])
        self._adam = torch.optim.AdamW(
            self._groups(),
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_epsilon,
            **_implementation(self._masters.values()),
        )
        alike = {master: group for group in self._adam.param_groups for master in group["params"]}
        self._tables = {
            name: WordTable(self._masters[name], alike[self._masters[name]])
            for name in self._copies
            if WordTable.suits(self._masters[name], alike[self._masters[name]])
        }

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters that are decayed and stepped alike."""
        groups: dict[tuple[bool, float], list[Parameter]] = {}
        for name, master in self._masters.items():
            groups.setdefault((is_decayed(name, master), self._rates.get(name, 1.0)), []).append(master)
        return [
            {"params": params, "weight_decay": self.config.weight_decay if decayed else 0.0, "factor": factor}
            for (decayed, factor), params in groups.items()
        ]

    def gradients(self) -> dict[str, Tensor]:
        """The accumulated fp32 gradients by parameter name: what a reduction over ranks works on."""
        return {name: master.grad for name, master in self._masters.items() if master.grad is not None}

    @torch.no_grad()
    def clip(self, max_norm: float) -> float:
        """Scale all gradients down so that their global norm is at most `max_norm`.

        Args:
            max_norm: The bound; 0 measures and leaves the gradients as they are.

        Returns:
            The global L2 norm before clipping, in fp32. When it is not finite nothing is scaled: don't step then.
        """
        whole = self.gradients()
        touched = {name: rows for name in whole if (rows := self._touched(name)) is not None}
        # Of a word table's gradient only the rows that the step read are anything but zero.
        parts = {name: whole[name][touched[name]] if name in touched else whole[name] for name in whole}
        norm = torch.nn.utils.get_total_norm(list(parts.values())).item()
        if 0 < max_norm < norm < float("inf"):
            scale = max_norm / (norm + 1e-6)
            for name, part in parts.items():
                part.mul_(scale)
                if name in touched:
                    whole[name][touched[name]] = part
        return norm

    def _touched(self, name: str) -> Tensor | None:
        gradient = self._gradients.get(name)
        return None if gradient is None else gradient.rows()

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update the weights at the absolute learning rate `lr`; parameters without a gradient stay as they are."""
        for group in self._adam.param_groups:
            group["lr"] = lr * group["factor"]
        few = self._few_rows()
        apart = {name: self._masters[name].grad for name in few}
        for name in apart:
            self._masters[name].grad = None
        self._adam.step()
        for name, gradient in apart.items():
            self._masters[name].grad = gradient
            self._tables[name].step(few[name], self._adam.state[self._masters[name]])
        self._refresh_copies(few)

    def _few_rows(self) -> dict[str, Tensor]:
        """The rows to be stepped of tables of which a run has read few."""
        found = {}
        for name, table in self._tables.items():
            if self._masters[name].grad is not None:
                table.read(self._touched(name))
                if (rows := table.few()) is not None:
                    found[name] = rows
        return found

    def zero_grad(self) -> None:
        """Drop all gradients."""
        self._adam.zero_grad(set_to_none=True)
        for gradient in self._gradients.values():
            gradient.clear()

    def master(self) -> dict[str, Tensor]:
        """The full-precision weights by name: what a checkpoint saves. Live views: the next step changes them."""
        return {name: master.detach() for name, master in self._masters.items()}

    def held_bytes(self) -> int:
        """Bytes that it keeps from step to step: moments, step counts, and masters of weights stored in bf16."""
        masters = (self._masters[name] for name in self._copies)
        return sum(value.nbytes for value in (*self.state().values(), *masters))

    @torch.no_grad()
    def load_master(self, weights: Mapping[str, Tensor]) -> None:
        """Restore what `master` gave, and refresh the stored copies from it.

        Raises:
            CheckpointError: The names, shapes or dtypes are not those of the trained parameters.
        """
        _require_names("weights", weights, self._masters)
        for name, master in self._masters.items():
            _require_like(name, weights[name], master)
            master.copy_(weights[name])
        self._refresh_copies({})

    def state(self) -> dict[str, Tensor]:
        """Moments and step counts, keyed `<parameter>.<slot>`. Live views: the next step changes them.

        A parameter that never had a gradient has no entries.
        """
        return {
            f"{name}.{slot}": self._adam.state[master][slot]
            for name, master in self._masters.items()
            if master in self._adam.state
            for slot in SLOTS
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` gave, to the bit.

        Raises:
            CheckpointError: An entry belongs to no trained parameter, is missing, or has another shape.
        """
        held = [name for name in self._masters if any(f"{name}.{slot}" in state for slot in SLOTS)]
        _require_names("optimizer state", state, [f"{name}.{slot}" for name in held for slot in SLOTS])
        fused = self._adam.defaults["fused"]
        restored = {}
        for name in held:
            master = self._masters[name]
            for slot in ("exp_avg", "exp_avg_sq"):
                _require_like(f"{name}.{slot}", state[f"{name}.{slot}"], master)
            # Fused kernels read the step count where the weights are; the others keep it on the host.
            step_device = master.device if fused else torch.device("cpu")
            # clone() puts each tensor at an aligned address of its own, whatever file it was mapped from.
            restored[master] = {
                slot: state[f"{name}.{slot}"].to(step_device if slot == "step" else master.device).clone()
                for slot in SLOTS
            }
        self._adam.state.clear()
        self._adam.state.update(restored)
        for name, table in self._tables.items():
            table.restore(restored.get(self._masters[name], {}))

    def retire(self) -> None:
        """Free moments and gradients: no further step is made."""
        self._adam.zero_grad(set_to_none=True)
        self._adam.state.clear()
        for gradient in self._gradients.values():
            gradient.free()

    def _refresh_copies(self, moved: Mapping[str, Tensor]) -> None:
        """Round the masters again; `moved`: the only rows that differ, by name, where they are known."""
        for name, copy in self._copies.items():
            master = self._masters[name].detach()
            if name in moved:
                copy.detach().index_copy_(0, moved[name], master.index_select(0, moved[name]).to(copy.dtype))
            else:
                copy.detach().copy_(master)


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: to matrices, never to biases, norms or other vectors."""
    return parameter.ndim >= 2 and not name.endswith("bias")


def _implementation(masters: Iterable[Tensor]) -> dict[str, bool]:
    """A pure function of the devices, so that a resumed run takes the same kernels."""
    fused = all(master.device.type in _FUSED_DEVICES for master in masters)
    return {"fused": True} if fused else {"foreach": True}


def _require_names(what: str, given: Mapping[str, Tensor], wanted: Iterable[str]) -> None:
    missing, unexpected = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing or unexpected:
        raise CheckpointError(
            f"the saved {what} don't fit this run: "
            f"{len(missing)} missing {missing[:3]}, {len(unexpected)} not trained here {unexpected[:3]}.",
            "Use the method and model the checkpoint was written with, or start anew with --fresh.",
        )


def _require_like(name: str, given: Tensor, wanted: Tensor) -> None:
    if given.shape != wanted.shape or given.dtype != wanted.dtype:
        raise CheckpointError(
            f"{name} was saved as {given.dtype} {tuple(given.shape)}, "
            f"this run has {wanted.dtype} {tuple(wanted.shape)}.",
            "Use the method and model the checkpoint was written with, or start anew with --fresh.",
        )
