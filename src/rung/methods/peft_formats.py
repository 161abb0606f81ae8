"""Opens what PEFT saved, whichever of the methods it has in common with Rung."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from rung.errors import ArtifactError, ConfigError
from rung.methods.adapted import Adapted
from rung.methods.adapter_config import read_adapter_config, require_only, unsupported
from rung.methods.base import WeightMethod
from rung.methods.ia3 import Ia3
from rung.methods.lora_peft import from_peft
from rung.methods.peft import Peft
from rung.methods.prefix import PrefixAdapted, PrefixTuning
from rung.methods.soft_prompt import SoftPrompt, SoftPromptAdapted
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
    method = _READERS.get(str(config.get("peft_type")), _any)(config, family)
    path = folder / "adapter_model.safetensors"
    tensors = _read_tensors(path)
    _require_no_vocabulary(path, tensors, family)
    try:
        adapted = method.attach(family, None, 0)
    except ConfigError as error:
        raise ConfigError(f"adapter_config.json: {error.what.removeprefix('method.')}", error.todo) from error
    if family.kind == "encoder_decoder" and _SAVED in tensors:
        tensors = {_SAVED: _as_read(tensors[_SAVED], adapted)}
    try:
        adapted.load(tensors)
    except KeyError as error:
        raise ArtifactError(
            f"{path} does not fit {family.module.config.model_type}: {error.args[0]}",
            "Name the model that the adapter was trained on; only maps inside the repeated blocks can be adapted.",
        ) from error
    return adapted


def _lora(config: Mapping[str, Any], family: Family) -> WeightMethod:
    return from_peft(config)


def _soft_prompt(config: Mapping[str, Any], family: Family) -> WeightMethod:
    require_only(config, _PROMPT | {"prompt_tuning_init", "prompt_tuning_init_text", *_TOKENIZER})
    if family.kind == "encoder":
        raise ConfigError(
            "adapter_config.json: peft_type='PROMPT_TUNING' on an encoder puts its tokens before the first, [CLS]",
            "Rung's own soft prompts stand behind it; train one with method=soft_prompt.",
        )
    return _made(SoftPrompt, num_virtual_tokens=config.get("num_virtual_tokens"), prompt_tuning_init="RANDOM")


def _prefix(config: Mapping[str, Any], family: Family) -> WeightMethod:
    # Its network was folded away when it was saved, and what it started from does not matter any more.
    require_only(config, _PROMPT | {"prefix_projection", "encoder_hidden_size", "init_weights"})
    return _made(PrefixTuning, num_virtual_tokens=config.get("num_virtual_tokens"))


def _as_read(saved: torch.Tensor, adapted: Adapted) -> torch.Tensor:
    """What PEFT saved for an encoder-decoder, as PEFT itself reads it.

    Of a soft prompt it keeps twice the virtual tokens and reads the first half. Of a prefix it hands four parts to each
    layer where two belong to it: layer i reads those of layer 2 i, counted around.
    """
    if isinstance(adapted, SoftPromptAdapted):
        return saved[: adapted.settings.num_virtual_tokens]
    if not isinstance(adapted, PrefixAdapted) or saved.shape != adapted.prefix.flat().shape:
        return saved
    layers = adapted.prefix.layers
    parts = saved.view(len(saved), layers, -1)
    return parts[:, [2 * layer % layers for layer in range(layers)]].flatten(1)


def _ia3(config: Mapping[str, Any], family: Family) -> WeightMethod:
    require_only(config, {"target_modules", "feedforward_modules", "init_ia3_weights"})
    names, inputs = config.get("target_modules"), config.get("feedforward_modules") or []
    if not isinstance(names, list) or not isinstance(inputs, list):
        raise unsupported(f"target_modules={names!r} is no list of names")
    return _made(Ia3, target_modules=names, feedforward_modules=inputs)


def _any(config: Mapping[str, Any], family: Family) -> WeightMethod:
    settings = {name: value for name, value in config.items() if value is not None and name not in _ABOUT}
    return _made(Peft, config=settings)


def _made(method: type[WeightMethod], **settings: Any) -> WeightMethod:
    """The method, its faults told as the file's."""
    try:
        return method.model_validate(settings)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        said = fault["msg"].removeprefix("Value error, ")
        raise unsupported(said if where == "config" else f"{where}={fault['input']!r}: {said}") from error


def _require_no_vocabulary(path: Path, tensors: Mapping[str, torch.Tensor], family: Family) -> None:
    """PEFT saves the tables of a model whose vocabulary was resized, or of whose words some are trained."""
    tables = [
        name
        for name, part in family.module.named_modules()
        if part is family.module.get_input_embeddings() or part is family.output
    ]
    for name in tensors:
        at = name.removeprefix("base_model.model.")
        if any(at.startswith(table + ".") for table in tables):
            raise ArtifactError(
                f"{path} holds {name} {tuple(tensors[name].shape)}: it changes the vocabulary's rows, which no method "
                "here does",
                "Merge the adapter into its model with PEFT, and name that model.",
            )


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
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


_SAVED = "prompt_embeddings"
"""PEFT's name of virtual tokens, and of keys and values."""
_PROMPT = frozenset(
    {"num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"}
)
"""Settings of what stands before a text: its length, and the model's sizes."""
_TOKENIZER = ("tokenizer_name_or_path", "tokenizer_kwargs")
_ABOUT = frozenset({"auto_mapping", "base_model_name_or_path", "peft_version", "revision", "inference_mode"})
"""What says where an adapter comes from, not what it does."""
_READERS: dict[str, Callable[[Mapping[str, Any], Family], WeightMethod]] = {
    "LORA": _lora,
    "PROMPT_TUNING": _soft_prompt,
    "PREFIX_TUNING": _prefix,
    "IA3": _ia3,
}
