"""One base in memory, many runs on it: the same answers as alone, and nothing left behind."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import rung
from rung.artifact import load
from rung.base import Attached, Base
from rung.errors import ArtifactError, ConfigError, DataError, IncompatibleError
from rung.run import RunConfig, execute
from rung.types import Prediction, Record

GOOD = ["joy", "warm", "played", "well", "start", "film"]
BAD = ["dull", "worst", "poor", "no", "jokes", "plot"]
WORDS = [*GOOD, *BAD, *(f"word{number}" for number in range(40))]
CLOSE = 1e-5

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"type": "lora", "r": 4},
    "lora_attention": {"type": "lora", "r": 2, "target_modules": ["q_proj", "v_proj"], "use_rslora": True},
    "dora": {"type": "lora", "r": 2, "use_dora": True},
    "pissa": {"type": "lora", "r": 2, "init_lora_weights": "pissa"},
    "head_only": {"type": "head_only"},
    "zero_shot": {"type": "zero_shot"},
    "adapter": {"type": "adapter", "style": "parallel", "reduction_factor": 4},
    "ia3": {"type": "ia3"},
    "soft_prompt": {"type": "soft_prompt", "num_virtual_tokens": 3},
    "prefix": {"type": "prefix", "num_virtual_tokens": 3},
    "top_layers": {"type": "top_layers", "num_layers": 1},
    "bitfit": {"type": "bitfit"},
    "peft": {"type": "peft", "config": {"peft_type": "LOHA", "r": 2, "target_modules": ["q_proj", "v_proj"]}},
    "full": {"type": "full"},
    "tfidf": {"type": "tfidf"},
}
DECODER = (*(name for name in METHODS if name not in {"bitfit", "full", "tfidf"}),)
ENCODER = ("lora", "dora", "head_only", "adapter", "ia3", "soft_prompt", "prefix", "bitfit", "top_layers")
TOGETHER = ("lora", "lora_attention", "dora", "pissa", "head_only", "zero_shot")


class Runs:
    """Finished runs of some seconds each, made when they are asked for."""

    def __init__(self, folder: Path, models: dict[str, Path]) -> None:
        self.folder = folder
        self.models = models
        self.rows = [
            {"text": " ".join((GOOD if at % 2 else BAD)[at % 3 : at % 3 + 3] + WORDS[at % 40 : at % 40 + 2 + at % 5])}
            for at in range(24)
        ]
        with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for at in range(60):
                words = [WORDS[(7 * at + step) % len(WORDS)] for step in range(4)]
                writer.writerow([" ".join([(GOOD if at % 2 else BAD)[at % 6], *words]), "good" if at % 2 else "bad"])

    def made(self, model: str, method: str, **changes: Any) -> Path:
        """The folder of a run; `model` may be another run's folder."""
        out = self.folder / "-".join([Path(model).name, method, *(str(value) for value in changes.values())])
        if not (out / "run.json").exists():
            settings = {
                "data": {"train": str(self.folder / "rows.csv"), "near_duplicates": False},
                "task": {"type": "classification", "text": "text", "label": "label"},
                "model": None if method == "tfidf" else str(self.models.get(model, model)),
                "method": METHODS[method],
                "training": {"num_train_epochs": 2, "learning_rate": 0.02, "per_device_train_batch_size": 8},
                "num_threads": 1,
                "max_length": 160,
                "precision": "float32",
                "output_dir": str(out),
            }
            execute(RunConfig.model_validate(settings | changes), {})
        return out


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"), tiny_models)


def base_of(runs: Runs, model: str) -> Base:
    base = rung.load(runs.models[model], precision="float32")
    assert isinstance(base, Base)
    return base


def storage(base: Base) -> dict[str, tuple[int, int]]:
    """Where the base's weights are, and what is in them."""
    module = base._start.family.module
    return {
        name: (value.data_ptr(), hash(value.detach().numpy().tobytes())) for name, value in module.named_parameters()
    }


def gap(found: list[Prediction], wanted: list[Prediction]) -> float:
    assert [one.id for one in found] == [one.id for one in wanted]
    return max(
        abs(a - b)
        for one, other in zip(found, wanted, strict=True)
        for a, b in zip(one.scores or (), other.scores or (), strict=True)
    )


@pytest.mark.parametrize(("model", "methods"), [("llama", DECODER), ("bert", ENCODER)])
def test_switching_gives_the_bytes_of_each_run_alone(runs: Runs, model: str, methods: tuple[str, ...]) -> None:
    base = base_of(runs, model)
    before = storage(base)
    modules = [id(part) for part in base._start.family.module.modules()]
    attached = {name: base.with_(runs.made(model, name)) for name in methods}
    alone = {name: load(runs.made(model, name)).predict(runs.rows) for name in methods}
    for name in (*methods, *reversed(methods)):
        assert attached[name].predict(runs.rows) == alone[name], name
        assert attached[name].verify(all=True) == []
        assert storage(base) == before, name
        assert [id(part) for part in base._start.family.module.modules()] == modules
        assert not any(value.requires_grad for value in base._start.family.module.parameters())


def test_the_runs_differ_from_each_other(runs: Runs) -> None:
    found = {name: load(runs.made("llama", name)).predict(runs.rows) for name in DECODER}
    assert len({str(one) for one in found.values()}) == len(DECODER)


@pytest.mark.parametrize(("model", "methods"), [("llama", TOGETHER), ("bert", ("lora", "dora", "head_only"))])
def test_a_batch_of_many_runs_gives_what_each_gives_alone(
    runs: Runs, model: str, methods: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_of(runs, model)
    attached = [base.with_(runs.made(model, name)) for name in methods]
    wanted = [one.predict(runs.rows) for one in attached]
    asked = [(attached[at % len(attached)], row) for at, row in enumerate(runs.rows)]

    def never(*_: object) -> None:
        raise AssertionError("it was asked alone")

    with monkeypatch.context() as patch:
        patch.setattr(Attached, "predict", never)
        found = base.predict(asked)
    expected = [wanted[at % len(attached)][at] for at in range(len(asked))]
    assert gap(found, expected) < CLOSE
    assert [one.label for one in found] == [one.label for one in expected]
    assert found == base.predict(asked)
    assert attached[0].predict(runs.rows) == wanted[0]


def test_runs_that_cannot_be_mixed_answer_in_the_same_call(runs: Runs) -> None:
    base = base_of(runs, "llama")
    attached = [base.with_(runs.made("llama", name)) for name in ("adapter", "lora", "prefix", "dora")]
    asked = [(attached[at % 4], row) for at, row in enumerate(runs.rows)]
    alone = [one.predict(runs.rows) for one in attached]
    assert gap(base.predict(asked), [alone[at % 4][at] for at in range(len(asked))]) < CLOSE
    assert base.predict([]) == []


def test_a_run_on_a_run_is_switched_to(runs: Runs) -> None:
    first = runs.made("llama", "lora")
    second = runs.made(str(first), "ia3")
    base = base_of(runs, "llama")
    attached = base.with_(second)
    assert attached.predict(runs.rows) == load(second).predict(runs.rows)
    lora = base.with_(first)
    asked = [(one, row) for row in runs.rows for one in (attached, lora)]
    found = base.predict(asked)
    assert [one.scores for one in found[::2]] == [one.scores for one in attached.predict(runs.rows)]
    assert [one.scores for one in found[1::2]] == [one.scores for one in lora.predict(runs.rows)]


def test_evaluating_writes_nothing_into_the_base(runs: Runs) -> None:
    base = base_of(runs, "llama")
    before = storage(base)
    folder = runs.made("llama", "top_layers")
    attached = base.with_(folder)
    records = [Record(str(at), row | {"label": "good"}, "here") for at, row in enumerate(runs.rows)]
    assert attached.evaluate(records) == load(folder).evaluate(records)
    assert storage(base) == before


def test_refusals(runs: Runs, tmp_path: Path) -> None:
    base = base_of(runs, "llama")
    with pytest.raises(IncompatibleError, match="trained every weight"):
        base.with_(runs.made("llama", "full"))
    with pytest.raises(IncompatibleError, match="is a control, which has no model"):
        base.with_(runs.made("llama", "tfidf"))
    with pytest.raises(ArtifactError, match="whose weights are not those of"):
        base.with_(runs.made("gpt2", "lora"))
    with pytest.raises(ArtifactError, match="precision=bfloat16, and this base is loaded with precision=float32"):
        base.with_(runs.made("llama", "lora", precision="bfloat16"))
    with pytest.raises(ArtifactError, match="holds no finished run"):
        base.with_(tmp_path)
    with pytest.raises(ArtifactError, match="holds no finished run"):
        rung.load(tmp_path)
    with pytest.raises(ConfigError, match="a precision, a device and a quantization of its own"):
        rung.load(runs.made("llama", "lora"), precision="float32")


def test_a_damaged_run_leaves_the_base_as_it_was(runs: Runs, tmp_path: Path) -> None:
    base = base_of(runs, "llama")
    before = storage(base)
    lora = base.with_(runs.made("llama", "lora"))
    wanted = lora.predict(runs.rows)
    shutil.copytree(runs.made("llama", "lora_attention"), tmp_path / "copy")
    (tmp_path / "copy" / "adapter_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ArtifactError, match="was changed or damaged"):
        base.with_(tmp_path / "copy")
    assert storage(base) == before
    assert lora.predict(runs.rows) == wanted


def test_asking_wrongly(runs: Runs) -> None:
    base, other = base_of(runs, "llama"), base_of(runs, "llama")
    lora = base.with_(runs.made("llama", "lora"))
    with pytest.raises(ArtifactError, match="was not put on this base"):
        other.predict([(lora, runs.rows[0])])
    with pytest.raises(DataError, match="reads column 'text', which is not there"):
        base.predict([(lora, runs.rows[0]), (lora, {"txt": "dull"})])


def test_nothing_of_the_base_is_copied(runs: Runs) -> None:
    base = base_of(runs, "llama")
    attached = base.with_(runs.made("llama", "lora"))
    body = {value.data_ptr() for value in base._start.family.module.parameters()}
    for layer in attached.adapted.layers.values():  # pyright: ignore[reportAttributeAccessIssue]
        assert layer.base.weight.data_ptr() in body
    assert torch.is_tensor(base._start.family.embedding.weight)
