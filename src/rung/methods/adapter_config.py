"""PEFT's `adapter_config.json`: read, and refused where it asks for more than its reader knows."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from rung.errors import ArtifactError, ConfigError

SILENT = frozenset(
    {
        *("auto_mapping", "base_model_name_or_path", "peft_type", "peft_version", "revision", "task_type"),
        *("inference_mode", "fan_in_fan_out"),
    }
)
"""What every adapter's settings may say and changes no answer."""

TASK_TYPES = {"decoder": "CAUSAL_LM", "encoder": "FEATURE_EXTRACTION", "encoder_decoder": "SEQ_2_SEQ_LM"}
"""PEFT's class of a whole model, by the model's kind."""

_TODO = "Save the adapter with plain settings, or merge it into its model with PEFT and name that model."


def read_adapter_config(folder: Path) -> Mapping[str, Any]:
    """The content of a folder's `adapter_config.json`.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} can't be read: {error}", "Save the adapter again with PEFT.") from error
    if not isinstance(config, dict):
        raise ArtifactError(f"{path} does not hold a JSON object", "Save the adapter again with PEFT.")
    return config


def unsupported(what: str) -> ConfigError:
    """The error for a setting that can't be followed to the bit.

    Args:
        what: The setting, with what is wrong with it.
    """
    return ConfigError(f"adapter_config.json: {what}", _TODO)


def require_only(config: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse a setting that says something and is not known, by its name: none is ever left out in silence.

    Args:
        config: The settings.
        known: Names that the reader follows, or that change no answer, besides `SILENT`.

    Raises:
        ConfigError: There is one.
    """
    for name, value in config.items():
        said = not (value is None or value is False or value in ({}, [], ""))
        if said and name not in known and name not in SILENT:
            raise unsupported(f"{name}={json.dumps(value)} is not supported")
