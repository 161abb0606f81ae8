"""LoRA adapters that PEFT wrote: their settings, read strictly.

What `rung.methods.lora` can't do to the bit is refused by its name, never left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from rung.methods.adapter_config import require_only, unsupported
from rung.methods.lora import Lora

_SETTINGS = frozenset({"r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "target_modules"})
_SILENT = frozenset(
    {"bias", "init_lora_weights", "layers_pattern", "megatron_core", "monteclora_config", "qalora_group_size"}
)
"""Keys that change no answer, or are looked at by themselves."""

_PLAIN_STARTS = (True, False, "gaussian", "orthogonal")
"""Starts that leave the base weights alone (PiSSA, OLoRA, LoftQ and CorDA don't)."""


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
        raise unsupported(f"peft_type={config.get('peft_type')!r} is not LORA")
    require_only(config, _SETTINGS | _SILENT)
    if config.get("bias", "none") != "none":
        raise unsupported(f"bias={config['bias']!r} trains biases too")
    start = config.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise unsupported(f"init_lora_weights={start!r} changes the base weights")
    targets = config.get("target_modules")
    if not isinstance(targets, list) and targets != "all-linear":
        raise unsupported(f"target_modules={targets!r} is no list of names")
    try:
        settings = {name: config[name] for name in _SETTINGS if name in config}
        if settings.get("use_dora"):
            settings["lora_dropout"] = 0.0  # it changes no answer, and Rung trains DoRA without
        return Lora.model_validate(settings)
    except ValidationError as error:
        fault = error.errors()[0]
        at = ".".join(str(part) for part in fault["loc"])
        raise unsupported(f"{at}={fault['input']!r}: {fault['msg']}") from error
