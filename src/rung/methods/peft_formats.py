"""Opens what PEFT saved, whichever of the methods it has in common with Rung."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rung.errors import ArtifactError, ConfigError
from rung.methods.adapted import Adapted
from rung.methods.base import WeightMethod
from rung.methods.ia3 import Ia3
from rung.methods.lora_peft import load_peft as load_lora
from rung.methods.lora_peft import read_adapter_config, read_tensors
from rung.methods.peft import Peft
from rung.methods.prefix import PrefixTuning
from rung.methods.soft_prompt import SoftPrompt
from rung.models.families import Family


def open_peft(folder: Path, family: Family) -> Adapted:
    """Attach an adapter that PEFT saved.

    Args:
        folder: Holds `adapter_config.json` and `adapter_model.safetensors`.
        family: The model it was trained on.

    Returns:
        The adapted model, without an output layer.

    Raises:
        ConfigError: The adapter is of a kind, or uses an option, that is not supported.
        ArtifactError: A file is missing or damaged, or its tensors are not those of this model.
    """
    config = read_adapter_config(folder)
    kind = str(config.get("peft_type"))
    if kind == "LORA":
        return load_lora(folder, family)
    adapted = _READERS.get(kind, _any)(config, family).attach(family, None, 0)
    path = folder / "adapter_model.safetensors"
    try:
        adapted.load(read_tensors(path))
    except KeyError as error:
        raise ArtifactError(
            f"{path} does not fit {family.module.config.model_type}: {error.args[0]}",
            "Name the model that the adapter was trained on.",
        ) from error
    return adapted


def _soft_prompt(config: Mapping[str, Any], family: Family) -> WeightMethod:
    if family.kind != "decoder":
        raise ConfigError(
            "adapter_config.json: peft_type='PROMPT_TUNING' on an encoder puts its tokens before the first, [CLS]",
            "Rung's own soft prompts stand behind it; train one with method=soft_prompt.",
        )
    return SoftPrompt(num_virtual_tokens=int(config["num_virtual_tokens"]), prompt_tuning_init="RANDOM")


def _prefix(config: Mapping[str, Any], family: Family) -> WeightMethod:
    return PrefixTuning(num_virtual_tokens=int(config["num_virtual_tokens"]))


def _ia3(config: Mapping[str, Any], family: Family) -> WeightMethod:
    names, inputs = config.get("target_modules"), config.get("feedforward_modules") or []
    if not isinstance(names, list) or not isinstance(inputs, list):
        raise ConfigError(
            f"adapter_config.json: target_modules={names!r} is no list of names", "Save it again with a list."
        )
    return Ia3(target_modules=tuple(names), feedforward_modules=tuple(inputs))


def _any(config: Mapping[str, Any], family: Family) -> WeightMethod:
    settings = {name: value for name, value in config.items() if value is not None and name not in _ABOUT}
    try:
        return Peft(config=settings)
    except ValidationError as error:
        raise ConfigError(
            f"adapter_config.json: {error.errors()[0]['msg']}", "Merge the adapter into its model with PEFT."
        ) from error


_ABOUT = frozenset({"auto_mapping", "base_model_name_or_path", "peft_version", "revision", "inference_mode"})
"""What says where an adapter comes from, not what it does."""
_READERS: dict[str, Callable[[Mapping[str, Any], Family], WeightMethod]] = {
    "PROMPT_TUNING": _soft_prompt,
    "PREFIX_TUNING": _prefix,
    "IA3": _ia3,
}
