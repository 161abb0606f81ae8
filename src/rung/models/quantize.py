"""Frozen weights in 8 or 4 bits, through the bitsandbytes library where it is installed.

`int8`: Dettmers et al. 2022, "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale", arXiv 2208.07339.
`nf4`: Dettmers et al. 2023, "QLoRA: Efficient Finetuning of Quantized LLMs", arXiv 2305.14314. Only the linear maps of
the blocks are stored so; what is computed stays in the model's own precision.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Literal

import torch
from transformers import BitsAndBytesConfig

from rung.errors import ConfigError, unknown

Quantization = Literal["none", "int8", "nf4"]
QUANTIZATIONS = ("none", "int8", "nf4")


def require_quantization(setting: str, device: str) -> None:
    """Refuse what can't be done here, before any weight is loaded.

    Args:
        setting: `none`, `int8` or `nf4`.
        device: What `resolve_device` returned.

    Raises:
        ConfigError: The setting is unknown, the library is missing, or it has no kernels for the device.
    """
    if setting not in QUANTIZATIONS:
        raise ConfigError(unknown("quantization", setting, QUANTIZATIONS))
    if setting == "none":
        return
    if device == "mps":
        raise ConfigError(f"quantization={setting}: bitsandbytes has no kernels for mps", "Use a CUDA device, or cpu.")
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"quantization={setting} needs the library bitsandbytes, which is not installed",
            "pip install 'rung[quantized]', or leave quantization out. It is meant for CUDA devices: on a CPU it saves "
            "memory and costs time.",
        )


def quantization_config(setting: str, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    """What transformers loads a model with; None = as it is.

    Args:
        setting: `none`, `int8` or `nf4`.
        dtype: What is computed in.
    """
    if setting == "none":
        return None
    if setting == "int8":
        # It says at every product that states are rounded to fp16, which its paper says once.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
