"""BERT's own pretraining: two terms with counts of their own, each divided once, however the step is cut up."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from rung.compute.output import OutputLayer
from rung.engine.loop import Progress, Schedule, train
from rung.engine.optim import Optimizer, OptimizerConfig
from rung.engine.sources import DatasetSource
from rung.methods.adapted import Adapted
from rung.methods.full import Full
from rung.objectives.base import Objective, Trained
from rung.tasks.base import Task
from rung.types import Batch, Example, HeadSpec, Loss, Row, Term, Tokens

MASK = 6
WEIGHT = 0.4
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


class MlmNsp(Objective):
    """Masked words and next sentences (Devlin et al. 2018, arXiv 1810.04805)."""

    type: Literal["mlm_nsp"] = "mlm_nsp"
    needs_head: ClassVar[bool] = True

    def check(self, model_kind: str, task: str) -> None: ...

    def head(self, task: Task | None = None) -> HeadSpec:
        return HeadSpec("sequence", 2, ("next", "random"), "pooler")

    def encode(self, example: Example, tokenizer: Any, max_length: int) -> Row:
        raise AssertionError("these rows come encoded")

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {"mlm": sum(masked(sequence) for sequence in batch.sequences), "nsp": len(batch.rows)}

    def loss(self, adapted: Trained, batch: Batch) -> Loss:
        words = -adapted.logprobs(batch.sequences)
        logits = adapted.outputs(batch.sequences, "pooler")
        pairs = cross_entropy(logits, torch.tensor([row.target for row in batch.rows]), reduction="none")
        sums = torch.stack([part.sum() for part in words.detach().split([masked(one) for one in batch.sequences])])
        terms = {"mlm": Term(words.sum(), len(words)), "nsp": Term(pairs.sum(), len(pairs), WEIGHT)}
        return Loss(terms, sums + pairs.detach())


def masked(sequence: Tokens) -> int:
    return sum(label != -100 for label in sequence.labels or ())


def mask(row: Row, seed: int, epoch: int) -> Row:
    """Masks drawn from a counter: nothing but seed, epoch and the row's id decides."""
    digest = hashlib.sha256(f"{seed}:{epoch}:{row.id}".encode()).digest()
    (tokens,) = row.sequences
    draws = np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(len(tokens)) / 2.0**64
    chosen = (draws < 0.3) & (np.asarray(tokens.input_ids) > MASK)
    ids = np.where(chosen, MASK, tokens.input_ids).tolist()
    labels = np.where(chosen, tokens.input_ids, -100).tolist()
    return replace(row, sequences=(replace(tokens, input_ids=tuple(ids), labels=tuple(labels)),))


class MaskedSource:
    """Rows that are masked anew every epoch."""

    def __init__(self, source: DatasetSource, seed: int) -> None:
        self.source = source
        self.seed = seed

    @property
    def steps_per_epoch(self) -> int:
        return self.source.steps_per_epoch

    def step(self, number: int) -> list[Batch]:
        epoch = number // self.steps_per_epoch
        return [Batch(tuple(mask(row, self.seed, epoch) for row in batch.rows)) for batch in self.source.step(number)]


class Recording(Optimizer):
    """Keeps the gradients of the last step."""

    def clip(self, max_norm: float) -> float:
        self.kept = {name: value.clone() for name, value in self.gradients().items()}
        return super().clip(max_norm)


def rows(tiny: ModuleType) -> list[Row]:
    made = []
    for number, sequence in enumerate(tiny.sequences((3, 9, 5, 5, 14, 2, 7, 11), shared=4)):
        types = (0, 0) + (1,) * (len(sequence) - 2)
        made.append(Row(str(number), (replace(sequence, token_type_ids=types),), number % 2))
    return made


def adapt(tiny: ModuleType) -> Adapted:
    family = tiny.build("bert_pretraining")
    head = OutputLayer(MlmNsp().head(), 32, seed=0).double()
    head.classifier.load_state_dict(family.module.cls.seq_relationship.state_dict())
    return Full().attach(family, head, seed=0)


def step(tiny: ModuleType, size: int, accumulation: int, steps: int = 1) -> tuple[list[float], dict[str, torch.Tensor]]:
    adapted = adapt(tiny)
    objective = MlmNsp()

    class Learner:
        counts = staticmethod(objective.counts)

        @staticmethod
        def loss(batch: Batch) -> Loss:
            return objective.loss(adapted, batch)

    seen: list[float] = []

    class Watch:
        @staticmethod
        def after_step(progress: Progress) -> None:
            seen.append(progress.loss)

    optimizer = Recording(adapted.trainable, OptimizerConfig())
    source = MaskedSource(DatasetSource(rows(tiny), size, accumulation, 7, False), 7)
    train(Learner(), source, optimizer, Schedule(3e-3, steps, 0, "constant", 0.0, 7), Progress(), [Watch()])
    return seen, optimizer.kept


def plain(tiny: ModuleType) -> tuple[float, dict[str, torch.Tensor]]:
    """The same step by transformers: one padded batch through BertForPreTraining."""
    module = tiny.build("bert_pretraining").module
    module.set_attn_implementation("sdpa")
    batch = [mask(row, 7, 0) for row in rows(tiny)]
    sequences = [row.sequences[0] for row in batch]

    def padded(values: list[tuple[int, ...]], fill: int) -> torch.Tensor:
        return pad_sequence([torch.tensor(value) for value in values], batch_first=True, padding_value=fill)

    labels = padded([one.labels for one in sequences], -100)
    output = module(
        input_ids=padded([one.input_ids for one in sequences], 0),
        token_type_ids=padded([one.token_type_ids for one in sequences], 0),
        attention_mask=padded([(1,) * len(one) for one in sequences], 0),
    )
    words = cross_entropy(output.prediction_logits.flatten(0, 1), labels.flatten())
    pairs = cross_entropy(output.seq_relationship_logits, torch.tensor([row.target for row in batch]))
    loss = words + WEIGHT * pairs
    loss.backward()
    return float(loss.detach()), tiny.gradients(module)


@pytest.mark.parametrize(("size", "accumulation"), [(8, 1), (4, 2), (2, 4), (3, 3)])
def test_each_term_is_divided_once_by_its_own_count(tiny: ModuleType, size: int, accumulation: int) -> None:
    expected, wanted = plain(tiny)
    (found,), gradients = step(tiny, size, accumulation)
    assert found == pytest.approx(expected, rel=1e-12)
    renamed = {name.replace("head.classifier", "cls.seq_relationship"): value for name, value in gradients.items()}
    assert set(wanted) <= set(renamed)
    for name, value in wanted.items():
        torch.testing.assert_close(renamed[name], value, **CLOSE)


def test_masks_are_a_pure_function_of_seed_epoch_and_row(tiny: ModuleType) -> None:
    source = MaskedSource(DatasetSource(rows(tiny), 8, 1, 7, False), 7)
    again = MaskedSource(DatasetSource(rows(tiny), 8, 1, 7, False), 7)
    later = again.step(3)
    assert [source.step(number) for number in range(4)][3] == later
    first = {row.id: row for row in source.step(0)[0].rows}
    assert any(first[row.id] != row for row in source.step(1)[0].rows), "a new epoch has new masks"


def test_both_terms_are_learned(tiny: ModuleType) -> None:
    losses, _ = step(tiny, 4, 2, steps=40)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
