"""Where a run computes and in which precision: from settings and what the machine is, never from a timing."""

from __future__ import annotations

import torch

from rung.errors import ConfigError, unknown

DEVICES = ("auto", "cuda", "mps", "cpu")
DTYPES = ("auto", "bfloat16", "float32")


def resolve_device(setting: str = "auto") -> str:
    """The device to compute on.

    Args:
        setting: `auto` (cuda, then mps, then cpu: the first that is there), `cpu`, `mps`, `cuda` or `cuda:N`.

    Returns:
        A name that `torch.device` takes.

    Raises:
        ConfigError: The device is unknown, or not there.
    """
    kind, _, index = setting.partition(":")
    if kind not in DEVICES or (index and not (kind == "cuda" and index.isdecimal())):
        raise ConfigError(unknown("device", setting, (*DEVICES, "cuda:N")))
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if kind == "auto":
        return next(name for name, available in there.items() if available)
    if not there[kind]:
        found = ", ".join(name for name, available in there.items() if available)
        raise ConfigError(f"device={setting!r} is not available; this machine has: {found}.", "Use device=auto.")
    if index and int(index) >= torch.cuda.device_count():
        raise ConfigError(f"device={setting!r}: this machine has {torch.cuda.device_count()} CUDA devices.")
    return setting


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX512-BF16, AMX-BF16, or Arm's BF16); read from its flags."""
    flags = torch.cpu.get_capabilities()
    return any(bool(flags.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def resolve_dtype(setting: str, device: str) -> torch.dtype:
    """The precision of frozen weights.

    Args:
        setting: `auto`, `bfloat16` or `float32`. `auto` is bfloat16 where the device computes in it, else float32.
        device: What `resolve_device` returned.

    Returns:
        `torch.bfloat16` or `torch.float32`.

    Raises:
        ConfigError: The precision is unknown.
    """
    if setting not in DTYPES:
        raise ConfigError(unknown("dtype", setting, DTYPES))
    if setting == "auto":
        return torch.bfloat16 if _computes_bf16(device) else torch.float32
    return torch.bfloat16 if setting == "bfloat16" else torch.float32


def _computes_bf16(device: str) -> bool:
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and cpu_has_bf16()
