"""Quantised bases: what is refused, and (where bitsandbytes is installed) that they answer and learn."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, BertModel, LlamaForCausalLM

from rung.artifact import load
from rung.base import Base
from rung.config.canonical import canonicalise
from rung.config.loading import parse_yaml
from rung.errors import ArtifactError, ConfigError, IncompatibleError
from rung.methods.adapted import Adapted
from rung.methods.lora import Lora
from rung.models import quantize
from rung.models.families import LINEAR, shape_of, weight_of
from rung.run import RunConfig, execute, validate
from rung.run.prepare import execution
from rung.run.start import facts_of, open_model
from rung.types import Tokens

INSTALLED = importlib.util.find_spec("bitsandbytes") is not None
needs_library = pytest.mark.skipif(not INSTALLED, reason="bitsandbytes is not installed")


def config_of(model: Path, method: dict[str, Any], **more: Any) -> RunConfig:
    body = {"data": {"train": "rows.csv"}, "model": str(model), "method": method, "device": "cpu", "max_length": 128}
    return RunConfig.model_validate({"quantization": "int8", **body, **more})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{load_in_4bit: true}", {"quantization": "nf4"}),
        ("{load_in_8bit: true, load_in_4bit: false}", {"quantization": "int8"}),
        ("{load_in_8bit: false, load_in_4bit: false}", {}),
    ],
)
def test_other_tools_names(written: str, meant: dict[str, str]) -> None:
    assert dict(canonicalise(RunConfig, parse_yaml(written, "run.yaml"))) == meant


def test_two_ways_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match="are two names of one setting"):
        canonicalise(RunConfig, parse_yaml("{load_in_4bit: true, load_in_8bit: true}", "run.yaml"))


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ({"type": "full"}, "quantised ones can't be trained"),
        ({"type": "top_layers", "num_layers": 1}, "quantised ones can't be trained"),
        ({"type": "lora", "use_dora": True}, "compute with the frozen weights themselves"),
        ({"type": "lora", "init_lora_weights": "pissa"}, "compute with the frozen weights themselves"),
        ({"type": "peft", "config": {"peft_type": "LOHA", "target_modules": ["q_proj"]}}, "it has not been tried"),
    ],
)
def test_methods_that_need_the_weights_are_refused(
    tiny_models: dict[str, Path], method: dict[str, Any], reason: str
) -> None:
    with pytest.raises(IncompatibleError, match=reason):
        validate(config_of(tiny_models["llama"], method))


def test_bitfit_is_refused(tiny_models: dict[str, Path]) -> None:
    with pytest.raises(IncompatibleError, match="quantised ones can't be trained"):
        validate(config_of(tiny_models["bert"], {"type": "bitfit"}))


@pytest.mark.parametrize("setting", ["int8", "nf4"])
def test_a_missing_library_is_said_before_anything_is_loaded(
    tiny_models: dict[str, Path], setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(quantize, "find_spec", lambda name: None if name == "bitsandbytes" else found(name))
    with pytest.raises(ConfigError, match=rf"quantization={setting} needs the library bitsandbytes"):
        validate(config_of(tiny_models["llama"], {"type": "lora"}, quantization=setting))
    with pytest.raises(ConfigError, match=r"rung\[quantized\]"):
        Base(str(tiny_models["llama"]), quantization=setting)


def test_what_the_library_cannot_do_is_said() -> None:
    with pytest.raises(ConfigError, match="no kernels for mps"):
        quantize.require_quantization("nf4", "mps")
    with pytest.raises(ConfigError, match="int8"):
        quantize.require_quantization("int9", "cpu")


def test_what_is_not_quantised_is_not_recorded(tiny_models: dict[str, Path]) -> None:
    config = config_of(tiny_models["llama"], {"type": "lora"}, quantization="none")
    assert "quantization" not in execution(config, facts_of(str(tiny_models["llama"])))
    config = config_of(tiny_models["llama"], {"type": "lora"})
    assert execution(config, facts_of(str(tiny_models["llama"])))["quantization"] == "int8"
    assert config.hash() != config.model_copy(update={"quantization": "none"}).hash()


@pytest.fixture(scope="module")
def models(tiny_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models whose maps have 64 inputs, so many as nf4 rounds together."""
    folder = tmp_path_factory.mktemp("wide")
    for name, kind in (("llama", LlamaForCausalLM), ("bert", BertModel)):
        shutil.copytree(tiny_models[name], folder / name)
        config = AutoConfig.from_pretrained(folder / name)
        config.hidden_size, config.intermediate_size = 64, 128
        if name == "llama":
            config.head_dim = 16
        torch.manual_seed(0)
        kind(config).save_pretrained(folder / name)
    return {name: folder / name for name in ("llama", "bert")}


@needs_library
@pytest.mark.parametrize("setting", ["int8", "nf4"])
@pytest.mark.parametrize("name", ["llama", "bert"])
def test_a_quantised_model_says_nearly_what_the_model_says(models: dict[str, Path], name: str, setting: str) -> None:
    exact = open_model(str(models[name]), {"dtype": "float32", "device": "cpu"}).family
    choices = {"dtype": "float32", "device": "cpu", "quantization": setting}
    family = open_model(str(models[name]), choices).family
    assert family.linears().keys() == exact.linears().keys()
    for path, part in family.linears().items():
        assert isinstance(part, LINEAR) and not weight_of(part).is_floating_point()
        assert shape_of(part) == shape_of(exact.linears()[path])
    rows = [Tokens(tuple(range(5, 20 + at))) for at in range(3)]
    ends = [[len(row) - 1] for row in rows]
    with torch.no_grad():
        found, wanted = Adapted(family).states(rows, ends), Adapted(exact).states(rows, ends)
    cosine = torch.nn.functional.cosine_similarity(found, wanted, dim=1)
    assert float(cosine.min()) > 0.8 and not torch.equal(found, wanted)


@needs_library
@pytest.mark.parametrize("setting", ["int8", "nf4"])
def test_a_lora_takes_the_gradient_past_a_quantised_map(models: dict[str, Path], setting: str) -> None:
    choices = {"dtype": "float32", "device": "cpu", "quantization": setting}
    family = open_model(str(models["llama"]), choices).family
    adapted = Lora(r=2).attach(family, None, 0)
    adapted.training(False)
    adapted.states([Tokens(tuple(range(5, 20)))], [[14]]).pow(2).sum().backward()
    grown = [name for name, value in adapted.own.items() if value.grad is not None and bool(value.grad.any())]
    assert len([name for name in grown if ".lora_B" in name]) == len(adapted.layers)


@needs_library
def test_a_run_on_a_quantised_base_is_made_loaded_and_shared(models: dict[str, Path], tmp_path: Path) -> None:
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([[f"text number {at}", "good" if at % 2 else "bad"] for at in range(60)])
    settings = {
        "data": {"train": str(tmp_path / "rows.csv"), "near_duplicates": False},
        "training": {"num_train_epochs": 1},
        "quantization": "nf4",
        "precision": "float32",
        "num_threads": 1,
        "output_dir": str(tmp_path / "out"),
    }
    folder = execute(config_of(models["llama"], {"type": "lora", "r": 2}, **settings), {})
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["execution"]["quantization"] == "nf4"
    rows = [{"text": "text number 3"}, {"text": "text number 8"}]
    alone = load(folder).predict(rows)
    base = Base(str(models["llama"]), "float32", "cpu", "nf4")
    assert base.with_(folder).predict(rows) == alone
    with pytest.raises(ArtifactError, match="quantization=nf4, and this base is loaded with quantization=none"):
        Base(str(models["llama"]), "float32", "cpu").with_(folder)
