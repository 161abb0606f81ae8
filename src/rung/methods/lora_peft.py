"""LoRA adapters that PEFT wrote: their settings and tensors, read strictly.

What `rung.methods.lora` can't do to the bit is refused by its name, never left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from rung.errors import ArtifactError, ConfigError
from rung.methods.lora import Lora, LoraAdapted
from rung.models.families import Family

_SETTINGS = frozenset({"r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "target_modules"})
_SILENT = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "bias", "fan_in_fan_out", "inference_mode", "init_lora_weights",
        "layers_pattern", "megatron_core", "monteclora_config", "peft_type", "peft_version", "qalora_group_size",
        "revision", "task_type",
    }
)  # fmt: skip
"""Keys that change no answer, or are looked at by themselves."""

_PLAIN_STARTS = (True, False, "gaussian", "orthogonal")
"""Starts that leave the base weights alone (PiSSA, OLoRA, LoftQ and CorDA don't)."""

_TODO = "Save the adapter with plain LoRA settings, or merge it into its model with PEFT and name that model."


def from_peft(config: Mapping[str, Any]) -> Lora:
    """The method that an `adapter_config.json` describes.

    Args:
        config: Its content.

    Returns:
        The settings.

    Raises:
        ConfigError: The adapter is no LoRA, or uses an option that is not supported; it is named.
    """
    if config.get("peft_type") != "LORA":
        raise ConfigError(f"adapter_config.json: peft_type={config.get('peft_type')!r} is not LORA", _TODO)
    for name, value in config.items():
        if name not in _SETTINGS | _SILENT and not (value is None or value is False or value in ({}, [], "")):
            raise ConfigError(f"adapter_config.json: {name}={json.dumps(value)} is not supported", _TODO)
    if config.get("bias", "none") != "none":
        raise ConfigError(f"adapter_config.json: bias={config['bias']!r} trains biases too", _TODO)
    start = config.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise ConfigError(f"adapter_config.json: init_lora_weights={start!r} changes the base weights", _TODO)
    targets = config.get("target_modules")
    if not isinstance(targets, list) and targets != "all-linear":
        raise ConfigError(f"adapter_config.json: target_modules={targets!r} is no list of names", _TODO)
    try:
        settings = {name: config[name] for name in _SETTINGS if name in config}
        if settings.get("use_dora"):
            settings["lora_dropout"] = 0.0  # it changes no answer, and Rung trains DoRA without
        return Lora.model_validate(settings)
    except ValidationError as error:
        fault = error.errors()[0]
        at = ".".join(str(part) for part in fault["loc"])
        raise ConfigError(f"adapter_config.json: {at}={fault['input']!r}: {fault['msg']}", _TODO) from error


def load_peft(folder: Path, family: Family) -> LoraAdapted:
    """Attach an adapter that PEFT saved.

    Args:
        folder: Holds `adapter_config.json` and `adapter_model.safetensors`.
        family: The model it was trained on.

    Returns:
        The adapted model, without an output layer.

    Raises:
        ConfigError: The adapter uses an option that is not supported.
        ArtifactError: A file is missing or damaged, or its tensors are not those of this model.
    """
    settings = from_peft(read_adapter_config(folder))
    tensors = read_tensors(folder / "adapter_model.safetensors")
    adapted = settings.attach(family, None, 0)
    try:
        adapted.load(tensors)
    except KeyError as error:
        raise ArtifactError(
            f"{folder / 'adapter_model.safetensors'} does not fit {family.module.config.model_type}: {error.args[0]}",
            "Name the model that the adapter was trained on; only maps inside the repeated blocks can be adapted.",
        ) from error
    return adapted


def read_adapter_config(folder: Path) -> Mapping[str, Any]:
    """The content of a folder's `adapter_config.json`.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    path = folder / "adapter_config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} can't be read: {error}", "Save the adapter again with PEFT.") from error


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"{path} can't be read: {error}", "Save the adapter with PEFT as safetensors: pickles are never opened."
        ) from error
