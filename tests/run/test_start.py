"""An adapter is opened on the weights that it was trained on, and on no others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from rung.artifact import load
from rung.errors import ArtifactError, ConfigError, ModelError
from rung.run import RunConfig, execute
from rung.run.start import facts_of
from rung.run.validate import validate

Configure = Callable[..., RunConfig]


def on(config: RunConfig, model: Path, method: dict[str, object] | None = None) -> RunConfig:
    """The same run on another model."""
    change = {"model": str(model)} | ({} if method is None else {"method": method})
    return RunConfig.model_validate(config.model_dump() | change)


def move(weights: Path) -> None:
    """Change one number of a file of weights."""
    tensors = load_file(weights)
    name = min(tensors)
    tensors[name] = tensors[name].clone()
    tensors[name].view(-1)[0] += 1
    save_file(tensors, weights, {"format": "pt"})


def test_a_base_that_was_replaced_is_refused(
    configure: Configure, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_models["llama"], tmp_path / "base"))
    config = on(configure("llama", {"type": "lora", "r": 2}, max_steps=2), base)
    folder = execute(config, {})
    assert facts_of(str(folder)).base_hash != facts_of(str(base)).base_hash
    move(base / "model.safetensors")
    with pytest.raises(ModelError) as caught:
        validate(on(config, folder))
    assert caught.value.what == f"model={str(folder)!r} was trained on other weights of {base} than are there now"
    with pytest.raises(ArtifactError, match=r"was made on other weights of .*base than are there now"):
        load(folder)


def test_an_adapter_that_was_changed_is_refused_as_a_start(configure: Configure) -> None:
    config = configure("llama", {"type": "lora", "r": 2}, max_steps=2)
    folder = execute(config, {})
    move(folder / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="was changed or damaged since the run was finished"):
        validate(on(config, folder))


@pytest.mark.parametrize("method", ["soft_prompt", "prefix"])
@pytest.mark.parametrize("model", ["llama", "bert"])
def test_virtual_tokens_that_leave_no_room_are_refused(method: str, model: str, configure: Configure) -> None:
    longest = 256
    validate(configure(model, {"type": method, "num_virtual_tokens": longest - 8}))
    with pytest.raises(ConfigError) as caught:
        validate(configure(model, {"type": method, "num_virtual_tokens": longest - 7}))
    assert caught.value.what == (f"method.num_virtual_tokens=249 leaves no room for a text: {model} reads 256 tokens")
    assert caught.value.todo == "Take at most 248; 20 to 100 are usual."


def test_virtual_tokens_of_an_earlier_run_count(configure: Configure) -> None:
    config = configure("llama", {"type": "soft_prompt", "num_virtual_tokens": 200}, max_steps=2)
    folder = execute(config, {})
    facts = validate(on(config, folder, {"type": "lora", "r": 2}))
    assert facts is not None
    assert facts.max_length == 56
