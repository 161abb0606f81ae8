"""Every method with every objective on every kind of model: one row a method, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from rung.engine.loop import Progress, Schedule, train
from rung.engine.optim import Optimizer, OptimizerConfig
from rung.engine.sources import DatasetSource
from rung.errors import IncompatibleError
from rung.evaluate.predictor import LocalPredictor
from rung.methods.adapted import Adapted
from rung.methods.lora import LoraAdapted
from rung.run.config import RunConfig
from rung.run.prepare import adapt
from rung.run.start import open_model
from rung.run.train import Learning
from rung.run.validate import validate
from rung.tasks.classification import ClassificationConfig
from rung.types import Batch, Record

MODELS = {"llama": "decoder", "gpt2": "decoder", "bert": "encoder", "t5": "encoder_decoder", "bart": "encoder_decoder"}
USUAL = {"decoder": "causal_lm", "encoder": "classification", "encoder_decoder": "seq2seq"}
OBJECTIVES = tuple(USUAL.values())
SAID = {name: USUAL[kind] for name, kind in MODELS.items()}
ALLOWED = {name: {one, "classification"} if one == "causal_lm" else {one} for name, one in SAID.items()}


@dataclass(frozen=True)
class Entry:
    """A method: its settings, the peak rate that learns a few rows, what it trains, whether its start is another model
    than the base, below which share of its first value the loss must fall (a few numbers teach a random model little),
    and what it refuses besides objectives of other kinds of models.
    """

    settings: Mapping[str, Any]
    rate: float = 0.0
    trains: str = "added"
    moves: bool = False
    falls: float = 0.7
    also_refused: Mapping[tuple[str, str], str] = field(default_factory=dict)


OTHER_KIND = {
    "causal_lm": "objective=causal_lm predicts the next token, which a model of kind {} does not do",
    "seq2seq": "objective=seq2seq reads one text and writes another, which a model of kind {} does not do",
    "classification": "objective=classification reads a text off one stack of layers, and an encoder-decoder has two",
}
NO_BIASES = "method=bitfit trains biases, and the blocks of {} have none"
BIASLESS = {(name, one): NO_BIASES.format(name) for name in ("llama", "t5") for one in OBJECTIVES}
NO_HEAD = "method=head_only trains an output layer, and objective=causal_lm has none"
NO_STACK = "method=head_only reads a text off one stack of layers, and an encoder-decoder has two"
HEADLESS = {(name, "causal_lm"): NO_HEAD for name in ("llama", "gpt2")}
HEADLESS |= {(name, one): NO_STACK for name in ("t5", "bart") for one in OBJECTIVES}

METHODS = {
    "head_only": Entry({"type": "head_only"}, 5e-2, "head", also_refused=HEADLESS),
    "soft_prompt": Entry({"type": "soft_prompt", "num_virtual_tokens": 4}, 1e-1, moves=True, falls=0.97),
    "prefix": Entry({"type": "prefix", "num_virtual_tokens": 4}, 3e-1, moves=True, falls=0.9),
    "prefix_projection": Entry(
        {"type": "prefix", "num_virtual_tokens": 4, "prefix_projection": True}, 3e-2, moves=True, falls=0.9
    ),
    "bitfit": Entry({"type": "bitfit"}, 3e-2, "own", falls=0.8, also_refused=BIASLESS),
    "ia3": Entry({"type": "ia3"}, 3e-1, falls=0.85),
    "adapter": Entry({"type": "adapter", "reduction_factor": 4}, 3e-2, falls=0.8),
    "parallel": Entry({"type": "adapter", "style": "parallel", "reduction_factor": 4}, 1e-2),
    "lora": Entry({"type": "lora", "r": 4}, 1e-2, "lora"),
    "rslora": Entry({"type": "lora", "r": 4, "use_rslora": True, "lora_dropout": 0.1}, 3e-3, "lora"),
    "dora": Entry({"type": "lora", "r": 4, "use_dora": True}, 1e-2, "lora"),
    "pissa": Entry(
        {"type": "lora", "r": 4, "init_lora_weights": "pissa", "loraplus_lr_ratio": 4}, 3e-3, "lora", moves=True
    ),
    "loha": Entry({"type": "peft", "config": {"peft_type": "LOHA", "r": 4, "target_modules": "all-linear"}}, 3e-2),
    "top_layers": Entry({"type": "top_layers", "num_layers": 1}, 1e-2, "own"),
    "full": Entry({"type": "full"}, 3e-3, "all"),
}


def refusal(method: str, objective: str, model: str) -> str | None:
    """Why a cell is refused, or None where it must work."""
    other_kind = None if objective in ALLOWED[model] else OTHER_KIND[objective].format(MODELS[model])
    return METHODS[method].also_refused.get((model, objective), other_kind)


# PEFT's LoHa has no way with GPT-2's transposed maps.
CELLS = [cell for cell in product(METHODS, OBJECTIVES, MODELS) if cell[::2] != ("loha", "gpt2")]
WORKING = [cell for cell in CELLS if refusal(*cell) is None]
UNMOVED = [cell for cell in WORKING if not METHODS[cell[0]].moves]
REFUSED = [cell for cell in CELLS if cell not in WORKING]

ROWS = [
    Record(str(number), {"text": text, "label": label}, f"a.csv:{number + 2}")
    for number, (text, label) in enumerate(
        [
            ("a joy from start to end", "good"),
            ("poor jokes and a dull plot", "bad"),
            ("warm and well played", "good"),
            ("the worst evening in years", "bad"),
            ("free", "good"),
            ("are you home for dinner tonight? call now", "bad"),
        ]
    )
]
TASK = ClassificationConfig().resolve("text", None, "label", ("bad", "good"), ("text", "label"))


class Cell:
    """A method attached to a model under an objective."""

    def __init__(self, method: str, objective: str, folder: Path, dtype: str = "float32") -> None:
        self.entry = METHODS[method]
        config = run_config(self.entry.settings, objective, folder)
        assert config.objective is not None and validate(config) is not None
        self.objective = config.objective
        opened = open_model(str(folder), {"dtype": dtype, "device": "cpu"})
        base = adapt(None, opened, TASK, self.objective, 7)
        self.base = self.answers(base, opened.loaded.tokenizer)
        self.adapted = adapt(config.method, opened, TASK, self.objective, 7)
        self.tokenizer = opened.loaded.tokenizer
        self.rows = LocalPredictor(self.adapted, self.tokenizer, TASK, self.objective, 128).rows(ROWS, TASK.prompt)

    def answers(self, adapted: Adapted, tokenizer: Any) -> torch.Tensor:
        """`[rows, labels]` raw scores: logits of the head, or log-probabilities of the answers."""
        predictions = LocalPredictor(adapted, tokenizer, TASK, self.objective, 128).predict(ROWS)
        return torch.tensor([one.scores for one in predictions], dtype=torch.float64)

    def now(self) -> torch.Tensor:
        return self.answers(self.adapted, self.tokenizer)

    def train(self, steps: int = 12) -> list[float]:
        """The loss of each step."""
        losses: list[float] = []

        class Noted:
            def after_step(self, progress: Progress) -> None:
                losses.append(progress.loss)

        if self.objective.needs_head:
            self.adapted.evaluating()
            self.adapted.prepare([row.sequences[0] for row in self.rows], "mean")
        optimizer = Optimizer(self.adapted.trainable, OptimizerConfig(learning_rate=self.entry.rate))
        schedule = Schedule(self.entry.rate, steps, 0, "constant", 1.0, 3)
        source = DatasetSource(self.rows, 3, 2, 3, False)
        train(Learning(self.adapted, self.objective, False), source, optimizer, schedule, Progress(), [Noted()])
        return losses


def run_config(method: Mapping[str, Any], objective: str | None, folder: Path | str) -> RunConfig:
    body: dict[str, Any] = {"data": {"train": "a.csv"}, "method": method, "model": str(folder)}
    return RunConfig.model_validate(body | ({} if objective is None else {"objective": {"type": objective}}))


@pytest.fixture(params=WORKING, ids="-".join)
def cell(request: pytest.FixtureRequest, tiny_models: dict[str, Path]) -> Cell:
    method, objective, model = request.param
    return Cell(method, objective, tiny_models[model])


def test_every_method_of_the_union_has_a_row() -> None:
    listed = {str(entry.settings["type"]) for entry in METHODS.values()}
    schema = RunConfig.model_json_schema()["properties"]["method"]["discriminator"]["mapping"]
    assert listed | {"majority", "tfidf", "zero_shot", "few_shot", "prompt_search"} == set(schema)


@pytest.mark.parametrize("cell", UNMOVED, ids="-".join, indirect=True)
def test_the_start_is_the_base_bit_for_bit(cell: Cell) -> None:
    assert torch.equal(cell.now(), cell.base)


def test_training_learns_and_disabled_and_root_give_the_start_back(cell: Cell) -> None:
    before = {name: value.clone() for name, value in cell.adapted.family.module.named_parameters()}
    is_bart = (
        cell.adapted.family.module.config.model_type == "bart"
    )  # a random one learns slowly, least from its source
    losses = cell.train(40 if is_bart else 12)
    assert losses[-1] < (0.995 if is_bart and cell.adapted.additions.virtual else cell.entry.falls) * losses[0]
    assert cell.adapted.head is not None or not torch.equal(cell.now(), cell.base)
    features = [row.sequences[0] for row in cell.rows]
    cell.adapted.evaluating()
    with torch.no_grad():
        trained = cell.adapted.states(features, [[0]] * len(features))
        with cell.adapted.disabled():
            disabled = cell.adapted.states(features, [[0]] * len(features))
        with cell.adapted.root():
            root = cell.adapted.states(features, [[0]] * len(features))
        again = cell.adapted.states(features, [[0]] * len(features))
    assert torch.equal(disabled, root)
    assert torch.equal(trained, again)
    assert torch.equal(trained, root) == (cell.entry.trains == "head")
    frozen = {name for name, value in cell.adapted.family.module.named_parameters() if not value.requires_grad}
    assert all(torch.equal(before[name], dict(cell.adapted.family.module.named_parameters())[name]) for name in frozen)


@pytest.mark.parametrize("cell", [one for one in WORKING if one[1] != "classification"], ids="-".join, indirect=True)
def test_the_start_of_a_trained_run_answers_as_the_base_did(cell: Cell) -> None:
    cell.train(3)
    with cell.adapted.disabled():
        assert torch.equal(cell.now(), cell.base)


def test_gradients_reach_what_is_trained_and_nothing_else(cell: Cell) -> None:
    if cell.entry.trains == "head":
        cell.adapted.prepare([row.sequences[0] for row in cell.rows], "mean")
    cell.train(1)  # LoRA's A has a zero gradient until B has moved
    cell.adapted.training(False)
    batch = DatasetSource(cell.rows, 6, 1, 0, False).step(0)[0]
    for term in cell.objective.loss(cell.adapted, batch).terms.values():
        term.sum.backward()
    trainable = cell.adapted.trainable
    reached = {name for name, value in trainable.items() if value.grad is not None and value.grad.abs().sum() > 0}
    dead = {name for name in trainable if name.startswith(("pooler.", "lm_head"))}  # no objective here reads them
    if cell.objective.needs_head:
        dead |= {name for name in trainable if "lm_head" in name}
    assert set(trainable) - reached <= dead | {name for name in trainable if name.endswith(("key.bias", "c_attn.bias"))}
    names = {id(value) for value in trainable.values()}
    for name, value in cell.adapted.family.module.named_parameters():
        assert value.requires_grad == (id(value) in names), name
        assert value.requires_grad or value.grad is None, name
    if cell.entry.trains == "lora":
        assert all("lora_" in name or name.startswith("head.") for name in trainable)


@pytest.mark.parametrize(("method", "objective", "model"), WORKING, ids=map("-".join, WORKING))
def test_rows_teach_the_same_apart(method: str, objective: str, model: str, tiny_models: dict[str, Path]) -> None:
    cell = Cell(method, objective, tiny_models[model], "float64")
    for part in (cell.adapted.family.module, cell.adapted.head or torch.nn.Identity(), *cell.adapted.switches()):
        part.double()
    cell.train(2)  # LoRA's A has a zero gradient until B has moved
    cell.adapted.training(False)
    for switch in cell.adapted.switches():
        switch.eval()  # dropout draws by the layout: with it, sharing is not exact

    def gradients(batches: list[Batch]) -> dict[str, torch.Tensor]:
        for batch in batches:
            for term in cell.objective.loss(cell.adapted, batch).terms.values():
                term.sum.backward()
        found = {name: value.grad for name, value in cell.adapted.trainable.items() if value.grad is not None}
        for value in cell.adapted.trainable.values():
            value.grad = None
        return found

    together, apart = gradients([Batch(tuple(cell.rows))]), gradients([Batch((row,)) for row in cell.rows])
    assert set(together) == set(apart)
    floor = 1e-3 * max(float(value.norm()) for value in apart.values())
    for name, value in apart.items():
        assert float((together[name] - value).norm()) <= 1e-6 * max(float(value.norm()), floor), name


def test_saved_weights_load_to_the_same_answers(cell: Cell, request: pytest.FixtureRequest, tiny_models: Any) -> None:
    method, objective, model = request.node.callspec.params["cell"]
    cell.train(3)
    saved = {name: value.clone() for name, value in cell.adapted.state().items()}
    fresh = Cell(method, objective, tiny_models[model])
    fresh.adapted.load(saved)
    if cell.adapted.head is not None:
        assert fresh.adapted.head is not None
        fresh.adapted.head.load_state_dict(cell.adapted.head.state_dict())
    assert torch.equal(fresh.now(), cell.now())


@pytest.mark.parametrize("cell", [one for one in WORKING if one[0] != "head_only"], ids="-".join, indirect=True)
def test_weights_under_other_names_or_shapes_are_refused(cell: Cell) -> None:
    saved = dict(cell.adapted.state())
    name = sorted(saved)[0]
    with pytest.raises(KeyError, match="unknown"):
        cell.adapted.load(saved | {"stranger": torch.zeros(1)})
    with pytest.raises(KeyError, match="missing"):
        cell.adapted.load({key: value for key, value in saved.items() if key != name})
    with pytest.raises(KeyError, match="has shape"):
        cell.adapted.load(saved | {name: saved[name].flatten()[:1]})


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("method", ["lora", "rslora", "dora", "pissa"])
def test_merged_lora_answers_like_unmerged(method: str, model: str, tiny_models: dict[str, Path]) -> None:
    cell = Cell(method, SAID[model], tiny_models[model], "float64")
    assert torch.allclose(cell.now(), cell.base, atol=1e-12, rtol=0)
    cell.train(3)
    unmerged = cell.now()
    assert isinstance(cell.adapted, LoraAdapted)
    cell.adapted.merge()
    assert torch.allclose(cell.now(), unmerged, atol=1e-10, rtol=0)
    assert not any("lora" in name for name, _ in cell.adapted.family.module.named_parameters())


@pytest.mark.parametrize(("method", "objective", "model"), REFUSED, ids=map("-".join, REFUSED))
def test_impossible_pairs_are_refused_before_weights_load(
    method: str, objective: str, model: str, tiny_models: dict[str, Path]
) -> None:
    config = run_config(METHODS[method].settings, objective, tiny_models[model])
    with pytest.raises(IncompatibleError) as caught:
        validate(config)
    assert caught.value.what == refusal(method, objective, model)
