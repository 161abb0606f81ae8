"""What a process keeps beyond its tensors, seen from outside it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rung.run.heap import KERNELS, bound_kernels

RESIDENT = """
def resident():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
"""
SHAPES = f"""
import torch
from rung.run.heap import bound_kernels, give_back
{RESIDENT}
bound_kernels()
torch.set_num_threads(1)
weight = torch.ones(64, 96, dtype=torch.bfloat16)
def meet(first, last):
    for rows in range(first, last):
        torch.nn.functional.linear(torch.ones(rows, 96, dtype=torch.bfloat16), weight)
    give_back()
    return resident()
full = meet(1, 400)
print(meet(400, 1200) - full)
"""
FREED = f"""
from rung.run.heap import give_back
{RESIDENT}
held = [bytearray(1000) for _ in range(200_000)]
last = bytearray(1000)
before = resident()
del held
give_back()
print(before - resident())
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and the C library must be glibc")


def test_the_users_own_bounds_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    bound_kernels()
    assert os.environ["LRU_CACHE_CAPACITY"] == "7"
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == str(KERNELS)


@linux
def test_new_shapes_no_longer_cost_memory() -> None:
    # 800 more shapes: 360 MB without a bound.
    assert int(_printed(SHAPES)) < 10e6


@linux
def test_freed_memory_goes_back_between_phases() -> None:
    assert int(_printed(FREED)) > 100e6


def _printed(code: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.endswith("CACHE_CAPACITY")}
    return subprocess.run([sys.executable, "-c", code], env=clean, check=True, capture_output=True, text=True).stdout
