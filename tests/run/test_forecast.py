"""What a run is expected to take, told before it is made, and what follows from it."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from rung.compute.fused import fuse
from rung.compute.plan import MAX_DENSE
from rung.errors import OutOfMemoryError
from rung.methods.full import Full
from rung.methods.lora import Lora
from rung.models.facts import tensor_shapes
from rung.run import RunConfig, execute, expected
from rung.run.expected import PLAN, settle_memory
from rung.run.forecast import Forecast, load_of
from rung.run.memory_model import (
    FITS,
    KEPT,
    PACKED,
    Load,
    activation_bytes,
    constant_of,
    least_bytes,
    machine_memory,
    memory_of,
    needs_recompute,
    require_room_for_weights,
)
from rung.run.prepare import adapt, execution, prepare_data
from rung.run.start import facts_of, open_model
from rung.run.train import settled
from rung.types import IGNORED, Batch, Row, Tokens

Configure = Callable[..., RunConfig]
LORA = {"type": "lora", "r": 4}


@pytest.fixture(scope="module")
def calibration() -> ModuleType:
    """The script that measures the constants."""
    path = Path(__file__).parents[2] / "benchmarks" / "calibrate_memory.py"
    spec = importlib.util.spec_from_file_location("calibrate_memory", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def attached(folder: Path, method: Any) -> Any:
    opened = open_model(str(folder), {"dtype": "float32", "device": "cpu"})
    return adapt(method, opened, None, None, 0)  # pyright: ignore[reportArgumentType]  no head, so no task is asked


def foretell(config: RunConfig, limit: int, said: list[str]) -> tuple[Forecast, Any]:
    """The forecast of a causal LM run, and its adapted model."""
    from rung.evaluate.generating import predictor_for
    from rung.objectives.causal_lm import CausalLM

    assert config.model is not None
    facts = facts_of(config.model)
    assert facts.path is not None
    data, task = prepare_data(config)
    opened = open_model(config.model, execution(config, facts))
    method = config.method
    assert isinstance(method, Lora | Full)
    adapted = adapt(method, opened, task, CausalLM(), 0)
    rows = predictor_for(adapted, opened.loaded.tokenizer, task, CausalLM(), 200).rows(data.splits.train, task.prompt)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expected, "machine_memory", lambda device: limit)
        settings, _ = settled(config.training, method, adapted.family.kind)
        return settle_memory(adapted, method, rows, settings, facts.path, said.append), adapted


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5", "bart"])
@pytest.mark.parametrize("method", [Lora(r=16), Full()], ids=["lora", "full"])
def test_the_constants_are_what_a_forward_pass_keeps(calibration: ModuleType, family: str, method: Any) -> None:
    """When this fails, the kernels keep something else: run `benchmarks/calibrate_memory.py` and copy its table."""
    built = getattr(calibration, family)()
    built.module.eval()
    fuse(built)
    adapted = method.attach(built, None, 0)
    adapted.training(True)
    assert calibration.constant(adapted) == pytest.approx(KEPT[constant_of(adapted)], rel=0.15)


def test_long_rows_keep_what_short_ones_do(calibration: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "LENGTH", MAX_DENSE + 44)
    built = calibration.llama()
    built.module.eval()
    fuse(built)
    adapted = Lora(r=16).attach(built, None, 0)
    adapted.training(True)
    assert calibration.constant(adapted) == pytest.approx(KEPT[constant_of(adapted)], rel=0.03)


def test_shared_beginnings_count_once(tiny_models: dict[str, Path]) -> None:
    adapted = attached(tiny_models["llama"], Lora(r=4))
    beginning = tuple(range(10, 30))
    ids = [(*beginning, 40 + number, 50, 51) for number in range(4)]
    rows = [Row(str(at), (Tokens(one, (IGNORED,) * 21 + one[21:]),)) for at, one in enumerate(ids)]
    load = load_of(adapted, Batch(tuple(rows)))
    # The last token predicts nothing and is not computed.
    assert load.tokens == 20 + 4 * 2
    assert load.positions == 4 * 2
    alone = load_of(adapted, Batch((rows[0],)))
    assert (alone.tokens, alone.positions, alone.pairs) == (22, 2, 22 * 22)


def test_memory_is_counted_by_what_holds_it(tiny_models: dict[str, Path]) -> None:
    lora, full = (attached(tiny_models["llama"], method) for method in (Lora(r=4), Full()))
    load = Load(tokens=100, through=100, positions=10)
    added, whole = (memory_of(one, load, tiny_models["llama"]) for one in (lora, full))
    numbers = sum(value.numel() for value in lora.trainable.values())
    assert (added.gradients, added.optimizer) == (4 * numbers, 8 * numbers)
    everything = sum(value.numel() for value in full.trainable.values())
    assert (whole.gradients, whole.optimizer) == (4 * everything, 8 * everything)
    # The start is kept beside the weights.
    assert whole.weights == pytest.approx(8 * everything, rel=0.01)
    assert activation_bytes(lora, load, recompute=True) < activation_bytes(lora, load, recompute=False)
    assert added.as_dict()["peak"] == added.peak > added.libraries + added.weights


def test_tokens_of_an_encoder_decoder_go_through_one_side(tiny_models: dict[str, Path]) -> None:
    adapted = attached(tiny_models["t5"], Full())
    sequences = [
        Tokens((0, 9, 9), (9, 9, 1), source_ids=(5, 6, 7, 8, 9, 10, 1)),
        Tokens((0, 9), (9, 1), source_ids=(5, 6, 1)),
    ]
    load = load_of(adapted, Batch(tuple(Row(str(at), (one,)) for at, one in enumerate(sequences))))
    assert (load.tokens, load.positions) == (2 * 7 + 2 * 3, 5)
    sides = [
        sum(part.weight.numel() for part in side.modules() if isinstance(part, torch.nn.Linear))
        for side in (adapted.family.module.get_encoder(), adapted.family.module.get_decoder())
    ]
    assert load.through == round((14 * sides[0] + 6 * sides[1]) / sum(sides))
    answers = load_of(adapted, Batch((Row("1", (sequences[0], sequences[0])),)))
    assert answers.tokens == 7 + 2 * 3  # a source is read once


def test_layers_below_the_lowest_trained_keep_nothing(tiny_models: dict[str, Path]) -> None:
    load = Load(tokens=100, through=100)
    every = attached(tiny_models["llama"], Lora(r=4))
    top = attached(tiny_models["llama"], Lora(r=4, target_modules=("layers.1.self_attn.q_proj",)))
    assert activation_bytes(top, load, False) < 0.75 * activation_bytes(every, load, False)


def test_auto_recomputes_only_what_would_not_fit(tiny_models: dict[str, Path]) -> None:
    memory = memory_of(attached(tiny_models["llama"], Lora(r=4)), Load(tokens=100, through=100), tiny_models["llama"])
    fits = int(memory.peak / FITS) + 1
    assert [needs_recompute("auto", memory, limit) for limit in (fits, fits - 2)] == [False, True]
    assert [needs_recompute(asked, memory, 1) for asked in (True, False)] == [True, False]


def test_the_machine_has_memory() -> None:
    assert 10**8 < machine_memory(torch.device("cpu")) < 2**63


def test_a_forecast_counts_rows_steps_and_tokens(configure: Configure) -> None:
    found, adapted = foretell(configure("llama", LORA), 2**40, [])
    train = prepare_data(configure("llama", LORA))[0].splits.train
    assert found.rows == len(train)
    assert found.steps == 2 * -(-len(train) // 8)
    assert found.distinct_tokens < found.tokens < found.rows * found.longest_row
    assert found.trainable_parameters == sum(value.numel() for value in adapted.trainable.values())
    assert found.checkpoint_bytes == 12 * found.trainable_parameters * 3
    assert not found.gradient_checkpointing
    assert json.loads(json.dumps(found.as_dict()))["memory"]["peak"] == found.memory.peak


def test_a_run_that_does_not_fit_recomputes_and_warns(configure: Configure) -> None:
    plain, _ = foretell(configure("llama", LORA), 2**40, [])
    said: list[str] = []
    tight, _ = foretell(configure("llama", LORA), int(plain.memory.peak / FITS) - 10**5, said)
    assert tight.gradient_checkpointing
    assert tight.memory.activations < plain.memory.activations
    assert said[0] == "The run would not fit into memory: layers are computed again in the backward pass."
    hopeless: list[str] = []
    foretell(configure("llama", LORA), plain.memory.libraries // 2, hopeless)
    assert "it may be ended for want of memory. A smaller training.per_device_train_batch_size" in hopeless[1]
    with pytest.raises(OutOfMemoryError, match="weights, gradients and moments alone need"):
        foretell(configure("llama", LORA), 1000, [])


def test_weights_that_cannot_fit_are_never_loaded(tiny_models: dict[str, Path], monkeypatch: Any) -> None:
    monkeypatch.setattr("rung.run.memory_model.machine_memory", lambda device: 1000)
    with pytest.raises(OutOfMemoryError) as caught:
        require_room_for_weights(tiny_models["llama"], {"dtype": "bfloat16", "device": "cpu"})
    assert caught.value.what == "out of memory: the model's weights alone need 0.0 GB, and this machine has 0.0 GB"
    assert "training.gradient_checkpointing=true trades time for memory." in caught.value.todo


def test_quantised_maps_are_counted_by_their_own_bytes(tiny_models: dict[str, Path], monkeypatch: Any) -> None:
    shapes = tensor_shapes(tiny_models["llama"])
    words = shapes["model.embed_tokens.weight"]
    numbers = sum(math.prod(shape) for shape in shapes.values())
    norms = sum(math.prod(shape) for shape in shapes.values() if len(shape) == 1)
    maps = numbers - norms - math.prod(words)
    choices = {"dtype": "bfloat16", "device": "cpu"}
    found = {name: least_bytes(tiny_models["llama"], {**choices, "quantization": name}) for name in PACKED}
    assert least_bytes(tiny_models["llama"], choices) == pytest.approx(2 * numbers, rel=0.05)
    assert found == {"int8": 2 * (norms + math.prod(words)) + maps, "nf4": 2 * (norms + math.prod(words)) + maps // 2}
    monkeypatch.setattr("rung.run.memory_model.machine_memory", lambda device: found["int8"])
    require_room_for_weights(tiny_models["llama"], {**choices, "quantization": "int8"})
    with pytest.raises(OutOfMemoryError, match="the model's weights alone need"):
        require_room_for_weights(tiny_models["llama"], choices)


def test_recomputing_changes_no_bit_and_no_identity(configure: Configure) -> None:
    method = {**LORA, "lora_dropout": 0.2}
    made = {asked: configure("llama", method, f"out-{asked}", gradient_checkpointing=asked) for asked in (True, False)}
    assert made[True].hash() == made[False].hash()
    folders = {asked: execute(config, {}) for asked, config in made.items()}
    weights = [(folder / "adapter_model.safetensors").read_bytes() for folder in folders.values()]
    assert weights[0] == weights[1]
    runs = {asked: json.loads((folder / "run.json").read_text()) for asked, folder in folders.items()}
    assert [runs[asked]["execution"]["gradient_checkpointing"] for asked in (True, False)] == [True, False]
    assert runs[True]["identity"] == runs[False]["identity"]


def test_the_outcome_stands_beside_the_forecast(configure: Configure) -> None:
    config = configure("bert", {"type": "full"})
    run = json.loads((execute(config, {}) / "run.json").read_text())
    assert run["forecast"]["steps"] == run["outcome"]["steps"]
    assert run["forecast"]["memory"]["peak"] > 10**8 < run["outcome"]["peak_memory_bytes"]
    assert 0 < run["outcome"]["seconds_per_step"] * run["outcome"]["steps"] < run["outcome"]["seconds"]
    assert "seconds" not in run["forecast"]


def test_a_plan_of_another_run_is_not_taken_up(configure: Configure) -> None:
    config = configure(None, {"type": "majority"})
    folder = Path(config.output_dir)
    folder.mkdir()
    (folder / PLAN).write_text(json.dumps({"identity": "another", "seconds": {"total": 1.0}}))
    run = json.loads((execute(config, {}) / "run.json").read_text())
    assert run["forecast"] is None
