"""Which precision `auto` means is read off the machine's flags: the whole table, and never a clock."""

from __future__ import annotations

import time

import pytest
import torch

from rung.models.devices import cpu_has_bf16, resolve_dtype

PROCESSORS = {
    "AVX-512 without bf16": ({"avx2": True, "avx512_f": True, "avx512_vnni": True, "avx512_bf16": False}, False),
    "AVX2 alone": ({"avx2": True, "avx512_f": False, "avx512_bf16": False, "amx_bf16": False}, False),
    "flags that are not listed": ({}, False),
    "AVX-512 with bf16": ({"avx2": True, "avx512_f": True, "avx512_bf16": True}, True),
    "AMX with bf16": ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": True}, True),
    "AMX for integers": ({"avx512_f": True, "amx_int8": True, "amx_bf16": False}, False),
    "Arm with bf16": ({"neon": True, "sve": True, "bf16": True}, True),
    "Arm without bf16": ({"neon": True, "fp16_arith": True, "bf16": False}, False),
}
"""What `torch.cpu.get_capabilities` says of a processor, and whether it multiplies bf16 itself."""


@pytest.mark.parametrize("processor", PROCESSORS)
def test_bf16_is_chosen_by_the_processors_flags_alone(monkeypatch: pytest.MonkeyPatch, processor: str) -> None:
    flags, has = PROCESSORS[processor]

    def clock() -> float:
        raise AssertionError("a choice was timed")

    for name in ("time", "perf_counter", "monotonic", "process_time"):
        monkeypatch.setattr(time, name, clock)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert cpu_has_bf16() is has
    assert resolve_dtype("auto", "cpu") is (torch.bfloat16 if has else torch.float32)
    assert resolve_dtype("float32", "cpu") is torch.float32
    assert resolve_dtype("bfloat16", "cpu") is torch.bfloat16, "asked for by name it is given, however slow"
    assert resolve_dtype("auto", "mps") is torch.float32


@pytest.mark.parametrize("has", [True, False])
def test_bf16_on_a_gpu_means_its_own_arithmetic_not_emulation(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or has)
    assert resolve_dtype("auto", "cuda:0") is (torch.bfloat16 if has else torch.float32)
