from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rung.errors import ConfigError
from rung.models.devices import cpu_has_bf16, resolve_device, resolve_dtype


def test_auto_takes_the_first_device_that_is_there() -> None:
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert resolve_device() == resolve_device("auto") == expected
    assert resolve_device("cpu") == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("setting", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"device='{setting}' is not available; this machine has: .*cpu"):
        resolve_device(setting)


@pytest.mark.parametrize("setting", ["gpu", "cpu:0", "cuda:x", ""])
def test_an_unknown_device_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="unknown device"):
        resolve_device(setting)


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="reads the flags where Linux lists them")
def test_bf16_is_what_the_processor_says() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert cpu_has_bf16() == bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def test_the_precision_follows_the_setting_and_the_machine() -> None:
    assert resolve_dtype("float32", "cpu") == torch.float32
    assert resolve_dtype("bfloat16", "cpu") == torch.bfloat16
    assert resolve_dtype("auto", "cpu") == (torch.bfloat16 if cpu_has_bf16() else torch.float32)
    assert resolve_dtype("auto", "mps") == torch.float32


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown dtype 'bf16'\. .*Allowed: auto, bfloat16, float32\."):
        resolve_dtype("bf16", "cpu")
