"""How much memory a run will need: arithmetic on shapes and row lengths, never on a measurement of this machine.

Weights, gradients and moments are counted exactly. What the forward pass keeps for the backward pass is counted in
outputs of the layers' linear maps: a layer keeps about as many numbers as they put out, times a constant of the kind
of model. The constants stand in one table below; `python benchmarks/calibrate_memory.py` measures them anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from rung.compute.head import CHUNK
from rung.errors import OutOfMemoryError
from rung.evaluate.predictor import TOKEN_BUDGET
from rung.methods.adapted import Adapted
from rung.methods.full import FullAdapted
from rung.methods.own import OwnAdapted
from rung.models.facts import read_config, tensor_shapes, weight_files
from rung.models.families import LINEAR, Family, shape_of

LIBRARIES = 510_000_000
"""Resident bytes of Python and the libraries, without any model."""
KERNEL_CACHES = 180_000_000
"""Resident bytes of the kernels that the libraries make for the shapes they meet (see `rung.run.heap`)."""
HEAP = 1.45
"""Bytes that the C library's heap holds per byte at work in it: a step asks for thousands of sizes, and frees them."""
KEPT = {
    ("decoder", "float32", "added"): 1.47,
    ("decoder", "bfloat16", "added"): 1.48,
    ("decoder", "float32", "full"): 1.49,
    ("decoder", "bfloat16", "full"): 1.49,
    ("gelu_new", "float32", "added"): 2.79,
    ("gelu_new", "bfloat16", "added"): 2.79,
    ("gelu_new", "float32", "full"): 3.07,
    ("gelu_new", "bfloat16", "full"): 3.08,
    ("encoder", "float32", "added"): 1.47,
    ("encoder", "bfloat16", "added"): 1.47,
    ("encoder", "float32", "full"): 1.74,
    ("encoder", "bfloat16", "full"): 1.74,
    ("relative", "float32", "added"): 1.13,
    ("relative", "bfloat16", "added"): 1.59,
    ("relative", "float32", "full"): 2.82,
    ("relative", "bfloat16", "full"): 4.15,
}
"""Numbers that a layer keeps for the backward pass per output of its linear maps and token, attention's left out.

By shape of the model, precision, and what is trained: weights that are added, or all of them (then dropout is active
too). `gelu_new` is GPT-2's activation, put together from simple operations that keep a copy each; `relative` is T5,
whose positions are added to attention's scores; BART keeps what encoders do.
"""
AT_WORK = 2.0
"""Numbers that the gradient of one layer takes while it is computed, per output of its linear maps and token."""
LOGIT = 16.0
"""Bytes per logit of a chunk of the output layer: in its own precision, in fp32, and its gradient."""
SCORED = 2.0
"""Numbers at work in a pass without gradients per output of one layer's linear maps and token."""
PACKED = {"int8": 1.0, "nf4": 0.5}
"""Bytes per number of a quantised linear map, its scales left out; tables of words and norms stay as they are."""
FITS = 0.9
"""Share of the machine's memory that a run may plan to fill; the rest is the system's."""

_FP32 = 4
_ATTENTION_DROPOUT = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
_CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True, slots=True)
class Load:
    """What one micro-batch asks for.

    Attributes:
        tokens: Computed once each: equal beginnings count once.
        through: The same, as if each went through all layers; less for an encoder-decoder's, which go through one side.
        queries: Queries that attention gathers from them, blocks filled up to the longest beside them.
        keys: Keys (and values) that attention gathers: those of a shared beginning once for each row under it.
        weights: Attention weights that are held, a query head: those of short blocks.
        pairs: A token and a key it attends to.
        positions: Scored by the output layer over the vocabulary.
    """

    tokens: int = 0
    through: int = 0
    queries: int = 0
    keys: int = 0
    weights: int = 0
    pairs: int = 0
    positions: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes at a run's peak, by what holds them.

    Attributes:
        libraries: Python and its libraries (0 on an accelerator).
        kernels: Kernels made for the shapes of the run (0 on an accelerator).
        weights: The model, and the start kept beside it by full fine-tuning.
        optimizer: Moments and fp32 masters.
        gradients: Of all trained weights, kept from step to step.
        activations: Of the largest micro-batch.
        head: Logits and their gradient.
        loading: What loading takes besides the weights.
        scoring: What predictions take besides weights and optimizer.
    """

    libraries: int
    kernels: int
    weights: int
    optimizer: int
    gradients: int
    activations: int
    head: int
    loading: int
    scoring: int

    @property
    def peak(self) -> int:
        """The most at one time: while loading, training or scoring."""
        at_work = max(self.activations + self.head, self.scoring)
        training = self.kernels + self.optimizer + self.gradients + at_work
        return self.libraries + self.weights + max(self.loading, training)

    def as_dict(self) -> dict[str, int]:
        """All parts and the peak."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"peak": self.peak}


def memory_of(adapted: Adapted, largest: Load, model: Path, *, recompute: bool = False) -> Memory:
    """The memory of a run.

    Args:
        adapted: The model with its method.
        largest: The run's largest micro-batch.
        model: The model's folder.
        recompute: Whether layers are recomputed in the backward pass.
    """
    family = adapted.family
    on_host = family.embedding.weight.device.type == "cpu"
    weights = sum(value.nbytes for value in (*family.module.parameters(), *family.module.buffers()))
    weights += 0 if adapted.head is None else sum(value.nbytes for value in adapted.head.parameters())
    weights += sum(value.nbytes for value in adapted.start.values()) if isinstance(adapted, OwnAdapted) else 0
    trained = list(adapted.trainable.values())
    numbers = sum(value.numel() for value in trained)
    masters = sum(value.numel() for value in trained if value.dtype != torch.float32)
    gradients = _FP32 * numbers
    activations = activation_bytes(adapted, largest, recompute)
    vocabulary = 0 if family.output is None or adapted.head is not None else family.embedding.num_embeddings
    heap = HEAP if on_host else 1.0
    read = TOKEN_BUDGET * _width(family.all_layers()[-1]) * SCORED * _size(family)
    return Memory(
        libraries=LIBRARIES if on_host else 0,
        kernels=KERNEL_CACHES if on_host else 0,
        weights=weights,
        optimizer=2 * _FP32 * numbers + _FP32 * masters,
        gradients=gradients,
        activations=int(heap * activations),
        head=int(heap * min(largest.positions, CHUNK) * vocabulary * LOGIT),
        loading=bytes_of(model) if on_host else 0,
        scoring=int(heap * (read + CHUNK * vocabulary * LOGIT)),
    )


def activation_bytes(adapted: Adapted, load: Load, recompute: bool) -> int:
    """What a micro-batch holds at the peak of its step, without weights and their gradients."""
    family, size = adapted.family, _size(adapted.family)
    through = len(family.all_layers()) - lowest_trained(adapted)
    if through == 0:
        return 0
    width = outputs(adapted) / through
    layer = kept(adapted) * width * load.through + attention_numbers(adapted, load)
    whole = layer * (1 if recompute else through) + AT_WORK * width * load.through
    inputs = family.module.config.hidden_size * load.through * through if recompute else 0
    return int((whole + inputs) * size)


def outputs(adapted: Adapted) -> int:
    """Numbers that the linear maps of the layers within reach of the backward pass put out for one token."""
    return sum(_width(layer) for layer in adapted.family.all_layers()[lowest_trained(adapted) :])


def kept(adapted: Adapted) -> float:
    """The constant in `KEPT` for a model and its method."""
    return KEPT[constant_of(adapted)]


def constant_of(adapted: Adapted) -> tuple[str, str, str]:
    """Which constant in `KEPT` a model and its method go by."""
    config = adapted.family.module.config
    activation = getattr(config, "hidden_act", None) or getattr(config, "activation_function", None)
    kind = "gelu_new" if activation == "gelu_new" else "decoder" if adapted.family.kind == "decoder" else "encoder"
    if adapted.family.kind == "encoder_decoder" and hasattr(config, "relative_attention_num_buckets"):
        kind = "relative"
    dtype = "bfloat16" if _size(adapted.family) == 2 else "float32"
    return kind, dtype, "full" if isinstance(adapted, FullAdapted) else "added"


def attention_numbers(adapted: Adapted, load: Load) -> float:
    """What attention gathers and holds in one layer, in numbers."""
    config = adapted.family.module.config
    heads = config.num_attention_heads
    key_width = config.hidden_size * (getattr(config, "num_key_value_heads", None) or heads) // heads
    held = load.weights
    if isinstance(adapted, FullAdapted) and any(getattr(config, name, 0.0) for name in _ATTENTION_DROPOUT):
        # What was dropped is held too; and long blocks, whose weights are not held otherwise, hold all of theirs.
        held = 2 * load.weights + 3 * (load.pairs - load.weights)
    return config.hidden_size * load.queries + 2 * key_width * load.keys + heads * held


def lowest_trained(adapted: Adapted) -> int:
    """Index of the lowest layer that the backward pass must reach; the number of layers when it reaches none."""
    layers = adapted.family.all_layers()
    inside = {id(value) for layer in layers for value in layer.parameters()}
    own = {id(value) for value in adapted.own.values()}
    if own - inside or adapted.additions.virtual or adapted.additions.prefixes:
        return 0
    reached = (at for at, layer in enumerate(layers) if any(id(value) in own for value in layer.parameters()))
    return next(reached, len(layers))


def machine_memory(device: torch.device) -> int:
    """Bytes that a run can have here: a fact of the machine (or of its container), not of the moment."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return min(psutil.virtual_memory().total, *(_limit(path) for path in _CGROUPS))


def needs_recompute(setting: bool | str, plain: Memory, limit: int) -> bool:
    """Whether layers are recomputed: as asked, or only when the run does not fit otherwise."""
    return plain.peak > FITS * limit if setting == "auto" else bool(setting)


def require_room(needed: int, limit: int, what: str) -> None:
    """Refuse what can't fit.

    Raises:
        OutOfMemoryError: It needs more than the machine has.
    """
    if needed > limit:
        raise OutOfMemoryError(
            f"out of memory: {what} need {needed / 1e9:.1f} GB, and this machine has {limit / 1e9:.1f} GB",
            "Choose a smaller model, method=lora, a smaller training.per_device_train_batch_size or a smaller "
            "max_length; training.gradient_checkpointing=true trades time for memory.",
        )


def require_room_for_weights(model: Path, choices: Mapping[str, Any]) -> None:
    """Refuse a model that can't fit, before any of it is loaded.

    Args:
        model: The model's folder.
        choices: The machine's choices (see `prepare.execution`).

    Raises:
        OutOfMemoryError: Its weights alone need more than the machine has.
    """
    require_room(
        least_bytes(model, choices), machine_memory(torch.device(choices["device"])), "the model's weights alone"
    )


def least_bytes(model: Path, choices: Mapping[str, Any]) -> int:
    """The least that a model's weights can take in the chosen precision, its linear maps quantised or not."""
    if choices.get("quantization", "none") == "none":
        # Files may hold fp32: half of that is the least that a model in bf16 can take.
        return bytes_of(model) // (2 if choices["dtype"] == "bfloat16" else 1)
    width, packed = (2 if choices["dtype"] == "bfloat16" else 4), PACKED[choices["quantization"]]
    words = read_config(model).get("vocab_size")
    shapes = tensor_shapes(model).values()
    return int(sum(math.prod(one) * (packed if len(one) == 2 and one[0] != words else width) for one in shapes))


def bytes_of(model: Path) -> int:
    """Size of a model folder's weight files."""
    return sum(path.stat().st_size for path in weight_files(model))


def _limit(path: Path) -> int:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return 2**63
    return int(text) if text.isdecimal() else 2**63


def _size(family: Family) -> int:
    return family.embedding.weight.element_size()


def _width(layer: nn.Module) -> int:
    """Numbers that a layer's linear maps put out for one token."""
    return sum(shape_of(part)[0] for part in layer.modules() if isinstance(part, LINEAR))
