"""What a run starts from: a pretrained model, or what an earlier run (or PEFT) trained on top of one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from rung.compute.fused import fuse
from rung.engine import fsio
from rung.errors import ArtifactError, ModelError
from rung.methods.adapted import Adapted
from rung.methods.base import WeightMethod
from rung.methods.peft_formats import open_peft
from rung.models.facts import ModelFacts
from rung.models.families import Family, describe
from rung.models.load import Loaded, inspect, load
from rung.models.references import ArtifactReference, FolderReference, parse
from rung.run.config import RunConfig
from rung.run.heap import give_back

_WEIGHTS = "adapter_model.safetensors"


@dataclass(slots=True)
class Opened:
    """A loaded start.

    Attributes:
        loaded: The pretrained model with its tokenizer.
        family: Its parts.
        parameters: Its parameters, without what was trained on top.
        below: What was trained on top of it earlier, or None.
        precise: Its weights by name before they were rounded, where all of them are trained; else none.
    """

    loaded: Loaded
    family: Family
    parameters: int
    below: Adapted | None = None
    precise: dict[str, torch.Tensor] = field(default_factory=dict)


def facts_of(reference: str) -> ModelFacts:
    """Facts of a start; its hash covers the pretrained weights and every adapter on top of them.

    Raises:
        ModelError: It can't be found or used, or what it was trained on has other weights now.
    """
    adapter = adapter_folder(reference)
    if adapter is None:
        return inspect(reference)
    base = base_of(adapter)
    facts = facts_of(base)
    if not (adapter / _WEIGHTS).is_file():
        raise ModelError(
            f"model={reference!r} has no {_WEIGHTS}", "Train it again, or save it with PEFT as safetensors."
        )
    weights = fsio.sha256_file(adapter / _WEIGHTS)
    if (adapter / "run.json").is_file():
        run = _json(adapter / "run.json")
        if run["base"]["hash"] != facts.base_hash:
            raise ModelError(
                f"model={reference!r} was trained on other weights of {base} than are there now",
                "Put the weights back that it was trained on, or train it again.",
            )
        if run["files"][_WEIGHTS] != weights:
            raise ModelError(
                f"{adapter / _WEIGHTS} was changed or damaged since the run was finished", "Train it again."
            )
    both = f"{facts.base_hash}:{weights}"
    described = adapter / "adapter_config.json"
    virtual = int(_json(described).get("num_virtual_tokens") or 0) if described.is_file() else 0
    # What stands before every text takes its place among the positions.
    return replace(facts, base_hash=hashlib.sha256(both.encode()).hexdigest(), max_length=facts.max_length - virtual)


def open_model(reference: str, choices: Mapping[str, Any], precise: bool = False) -> Opened:
    """Load a start in the chosen precision, with what was trained on top of it attached and frozen.

    Args:
        reference: The start.
        choices: The machine's.
        precise: Whether the weights are kept as they were before they were rounded: the optimizer goes on from these.
            From rounded ones the first small steps would all be rounded away again.

    Raises:
        ModelError: It can't be loaded.
        ArtifactError: An adapter does not fit its base.
    """
    root = root_of(reference)
    return on_top(reference, _open_root(root, choices, precise and root == reference))


def root_of(reference: str) -> str:
    """The reference of the pretrained model below all adapters."""
    adapter = adapter_folder(reference)
    return reference if adapter is None else root_of(base_of(adapter))


def on_top(reference: str, root: Opened) -> Opened:
    """Attach the adapters of a start to its pretrained model, which is loaded.

    Raises:
        ArtifactError: An adapter does not fit its base.
    """
    adapter = adapter_folder(reference)
    return root if adapter is None else _open_adapter(adapter, on_top(base_of(adapter), root))


def _open_root(reference: str, choices: Mapping[str, Any], precise: bool) -> Opened:
    dtype = getattr(torch, str(choices["dtype"]))
    rounded = precise and dtype.itemsize < torch.float32.itemsize
    quantization = str(choices.get("quantization", "none"))
    loaded = load(reference, torch.float32 if rounded else dtype, str(choices["device"]), quantization)
    assert isinstance(loaded.module, PreTrainedModel)
    kept = _round(loaded.module, dtype) if rounded else {}
    give_back()
    kind = loaded.facts.kind
    assert kind != "endpoint"
    parameters = loaded.module.num_parameters()
    family = describe(loaded.module, kind)
    if quantization == "none":
        fuse(family)
    return Opened(loaded, family, parameters, precise=kept)


def _round(module: torch.nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Round a model's weights in place (buffers stay as they are); the weights before that, by name."""
    kept = {name: value.detach() for name, value in module.named_parameters()}
    for value in module.parameters():
        value.data = value.data.to(dtype)
    return kept


def adapter_folder(reference: str) -> Path | None:
    """The folder, when the reference is one that holds an adapter and not a whole model."""
    parsed = parse(reference)
    if not isinstance(parsed, ArtifactReference | FolderReference) or (parsed.path / "config.json").is_file():
        return None
    holds_adapter = isinstance(parsed, ArtifactReference) or (parsed.path / "adapter_config.json").is_file()
    return parsed.path if holds_adapter else None


def base_of(adapter: Path) -> str:
    """The reference of the model that an adapter was trained on.

    Raises:
        ModelError: It is not recorded, or the run trained no weights of its model.
    """
    run = adapter / "run.json"
    if run.is_file():
        model = _json(run)["resolved"]["model"]
        if not (adapter / _WEIGHTS).is_file():
            raise ModelError(
                f"model={str(adapter)!r} is a run that left its model's weights alone", f"Name model={model}."
            )
        return str(model)
    model = _json(adapter / "adapter_config.json").get("base_model_name_or_path")
    if not model:
        raise ModelError(f"{adapter / 'adapter_config.json'} names no base_model_name_or_path", "Add the model to it.")
    return str(model)


def _open_adapter(folder: Path, opened: Opened) -> Opened:
    if (folder / "run.json").is_file():
        method = RunConfig.model_validate(_json(folder / "run.json")["resolved"]).method
        assert isinstance(method, WeightMethod)
        below = attach(method, opened, None, 0)
        try:
            below.load(load_file(folder / _WEIGHTS))
        except KeyError as error:
            raise ArtifactError(
                f"{folder / _WEIGHTS} does not fit its base: {error.args[0]}", "Train it again."
            ) from error
    else:
        below = open_peft(folder, opened.family)
        below.below = opened.below
    opened.family.module.requires_grad_(False)
    return replace(opened, below=below)


def attach(method: WeightMethod, opened: Opened, head: torch.nn.Module | None, seed: int) -> Adapted:
    """Attach a method to a start."""
    if opened.below is not None:
        return method.chain(opened.below, head, seed)
    adapted = method.attach(opened.family, head, seed)
    adapted.precise = opened.precise
    return adapted


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be read: {error}", "Name another model.") from error
