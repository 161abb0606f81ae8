"""What a run will take, told before a step of it is made: rows, tokens, arithmetic, memory, disk.

A pure function of the settings, the rows and the model's shapes. Seconds are not among it: they need a probe (see
`rung.run.probe`), and no choice of a run may depend on one.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rung.compute.plan import plan_bidirectional, plan_causal
from rung.compute.states import supervised
from rung.engine.settings import TrainingConfig
from rung.engine.sources import DatasetSource
from rung.methods.adapted import Adapted
from rung.methods.base import WeightMethod
from rung.models.families import Family, shape_of
from rung.run.memory_model import (
    Load,
    Memory,
    activation_bytes,
    lowest_trained,
    memory_of,
    needs_recompute,
)
from rung.types import Batch, Row, Tokens

_SAMPLED = 64
"""Micro-batches of a pass whose sharing is looked at; a pass of more is scaled up from these."""
_LARGEST = 4
"""Micro-batches with the most tokens of rows, among which the one with the most memory is found."""
_CHECKPOINT = 12
"""Bytes per trained number in a checkpoint: the weight and two moments, all in fp32."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run will take.

    Attributes:
        rows: Training rows.
        tokens: Of all rows, once.
        distinct_tokens: Computed in a pass, beginnings that rows of a micro-batch share counted once.
        supervised_positions: Scored in a pass.
        longest_row: Tokens of the longest row.
        epochs: Passes.
        steps: Optimizer steps.
        flops: Arithmetic of training, each distinct token computed once a pass.
        parameters: Of the model.
        trainable_parameters: Of them and of what is added, those that are trained.
        memory: Bytes at the peak.
        memory_limit_bytes: What the machine has.
        gradient_checkpointing: Whether layers are recomputed to save memory.
        checkpoint_bytes: On disk while the run goes on.
        artifact_bytes: On disk in the end.
    """

    rows: int
    tokens: int
    distinct_tokens: int
    supervised_positions: int
    longest_row: int
    epochs: float
    steps: int
    flops: float
    parameters: int
    trainable_parameters: int
    memory: Memory
    memory_limit_bytes: int
    gradient_checkpointing: bool
    checkpoint_bytes: int
    artifact_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """As `run.json` and `plan.json` hold it."""
        return {**asdict(self), "memory": self.memory.as_dict()}


@dataclass(frozen=True, slots=True)
class Body:
    """The weights of the linear maps in a model's repeated blocks.

    Attributes:
        weights: Of all of them.
        reading: Of those among them that an encoder-decoder's source goes through: the encoder's.
    """

    weights: int
    reading: int

    @classmethod
    def of(cls, family: Family) -> Body:
        """A model's."""
        sizes = {part: math.prod(shape_of(part)) for part in family.linears().values()}
        inside = set(family.module.get_encoder().modules()) if family.kind == "encoder_decoder" else set()
        return cls(sum(sizes.values()), sum(size for part, size in sizes.items() if part in inside))

    def through(self, source: int, target: int) -> float:
        """Tokens as if each went through all of them: those of an encoder-decoder go through one side.

        Args:
            source: Tokens that its encoder reads; 0 for other models.
            target: Tokens that its decoder reads; all tokens of other models.
        """
        return (source * self.reading + target * (self.weights - self.reading)) / self.weights


def forecast(
    adapted: Adapted,
    method: WeightMethod,
    rows: Sequence[Row],
    settings: TrainingConfig,
    model: Path,
    limit: int,
) -> Forecast:
    """Foretell a training run.

    Args:
        adapted: The model with the method attached.
        method: The method.
        rows: The encoded training rows.
        settings: The training settings, with the epochs settled.
        model: The model's folder.
        limit: Bytes of memory the machine has (see `machine_memory`).

    Returns:
        What it will take.
    """
    source = source_of(rows, settings)
    steps = settings.total_steps(source.steps_per_epoch)
    epochs = steps / source.steps_per_epoch
    tokens = int(source.lengths.sum())
    once = _pass(adapted, source, tokens)
    work = arithmetic(adapted, method, once) * (epochs if trains_body(adapted) else 1)
    largest = _largest(adapted, source, steps)
    plain = memory_of(adapted, largest, model)
    recompute = needs_recompute(settings.gradient_checkpointing, plain, limit)
    trained = sum(value.numel() for value in adapted.trainable.values())
    return Forecast(
        rows=len(rows),
        tokens=tokens,
        distinct_tokens=once.tokens,
        supervised_positions=once.positions,
        longest_row=int(source.lengths.max()),
        epochs=epochs,
        steps=steps,
        flops=work,
        parameters=sum(value.numel() for value in adapted.family.module.parameters()),
        trainable_parameters=trained,
        memory=memory_of(adapted, largest, model, recompute=True) if recompute else plain,
        memory_limit_bytes=limit,
        gradient_checkpointing=recompute,
        checkpoint_bytes=_CHECKPOINT * trained * _kept(settings, steps, source.steps_per_epoch),
        artifact_bytes=sum(value.nbytes for value in adapted.trainable.values()),
    )


def source_of(rows: Sequence[Row], settings: TrainingConfig) -> DatasetSource:
    """The micro-batches of a run, in their order."""
    return DatasetSource(
        rows,
        settings.per_device_train_batch_size,
        settings.gradient_accumulation_steps,
        settings.seed,
        settings.group_by_length,
    )


def load_of(adapted: Adapted, batch: Batch) -> Load:
    """What a micro-batch asks for, as `rung.compute.states` lays it out."""
    sequences = batch.sequences
    family = adapted.family
    additions = adapted.additions
    scored = 0
    if adapted.head is None:
        positions, labels = supervised(sequences, 1 if family.kind == "decoder" else 0)
        scored = len(labels)
        if family.kind == "decoder":
            ids = [one.input_ids[: max(at, default=0) + 1] for one, at in zip(sequences, positions, strict=True)]
        else:
            ids = [one.input_ids for one in sequences]
    else:
        ids = [one.input_ids for one in sequences]
    if family.kind == "encoder_decoder":
        return _two_sided(family, sequences, len(additions.virtual), additions.learned, scored)
    ids = [additions.joined(one) for one in ids]
    if not family.flat:
        count, longest = len(ids), max(len(one) for one in ids)
        return Load(count * longest, count * longest, 0, 0, 0, count * longest * longest, scored)
    plan = plan_causal(ids) if family.kind == "decoder" else plan_bidirectional(ids)
    queries = keys = weights = pairs = 0
    for group in plan.groups:
        blocks = len(group.lengths)
        held = blocks * group.longest * group.keys
        queries += blocks * group.longest
        keys += blocks * group.keys
        weights += held if group.dense else 0
        pairs += held
    return Load(len(plan.tokens), len(plan.tokens), queries, keys, weights, pairs, scored)


def _two_sided(family: Family, sequences: Sequence[Tokens], virtual: int, learned: int, scored: int) -> Load:
    """An encoder-decoder's micro-batch: both sides padded, each distinct source read once."""
    sources = {one.source_ids or () for one in sequences}
    read, said = max(map(len, sources)) + virtual, max(map(len, sequences))
    source, target = len(sources) * read, len(sequences) * said
    encoders = len(family.all_layers()) - len(family.layers())
    # Pairs are those of one of the decoder's layers: the encoder's are spread over them.
    pairs = target * (said + learned + read) + round(source * read * encoders / len(family.layers()))
    return Load(source + target, round(Body.of(family).through(source, target)), 0, 0, pairs, pairs, scored)


def arithmetic(adapted: Adapted, method: WeightMethod, load: Load) -> float:
    """Floating-point operations of training on a load once: linear maps, attention, output layer."""
    family = adapted.family
    trained = sum(value.numel() for value in adapted.trainable.values())
    total = method.training_flops(Body.of(family).weights, trained, load.through, 1.0)
    # Forward alone, forward and the states' gradient, or the weights' gradient too: what one weight costs says which.
    passes = method.training_flops(1, 0, 1, 1.0) / 2
    hidden = family.module.config.hidden_size
    total += passes * 2.0 * hidden * family.embedding.num_embeddings * load.positions
    return total + (3 if passes > 1 else 1) * 4.0 * len(family.layers()) * hidden * load.pairs


def trains_body(adapted: Adapted) -> bool:
    """Whether any pass goes backward through the body; a body that is only read is computed once for all passes."""
    return lowest_trained(adapted) < len(adapted.family.all_layers())


def _pass(adapted: Adapted, source: DatasetSource, tokens: int) -> Load:
    """What a whole pass over all `tokens` of the rows asks for."""
    count = source.steps_per_epoch
    chosen = [at * count // _SAMPLED for at in range(_SAMPLED)] if count > _SAMPLED else range(count)
    loads = [load_of(adapted, batch) for step in chosen for batch in source.step(step)]
    scale = tokens / sum(source.tokens(indices) for step in chosen for indices in source.indices(step))
    return Load(*(round(scale * sum(getattr(load, name) for load in loads)) for name in Load.__dataclass_fields__))


def _largest(adapted: Adapted, source: DatasetSource, steps: int) -> Load:
    """The micro-batch of the run that needs the most memory."""
    steps = steps if trains_body(adapted) else 1
    cut = (indices for step in range(steps) for indices in source.indices(step))
    heaviest = heapq.nlargest(_LARGEST, cut, key=source.tokens)
    loads = [load_of(adapted, Batch(tuple(source.rows[index] for index in indices))) for indices in heaviest]
    return max(loads, key=lambda load: (activation_bytes(adapted, load, False), load.positions))


def scorings(settings: TrainingConfig, steps: int, steps_per_epoch: int) -> int:
    """How often training scores the validation rows."""
    return 0 if settings.eval_strategy == "no" else math.ceil(steps / _every(settings, steps_per_epoch))


def saves(settings: TrainingConfig, steps: int, steps_per_epoch: int) -> int:
    """How many checkpoints a run writes."""
    return math.ceil(steps / (settings.save_steps or _every(settings, steps_per_epoch)))


def _every(settings: TrainingConfig, steps_per_epoch: int) -> int:
    """Steps between two scorings, and between two checkpoints where nothing else is asked for."""
    return (settings.eval_strategy == "steps" and settings.eval_steps) or steps_per_epoch


def _kept(settings: TrainingConfig, steps: int, steps_per_epoch: int) -> int:
    """Checkpoints on disk at one time: those that are kept, and the one being written."""
    written = saves(settings, steps, steps_per_epoch)
    return min(written, settings.save_total_limit or written) + 1
