"""What the machine has and can do."""

from __future__ import annotations

import os
import platform
import resource
import time
from pathlib import Path
from typing import Any


def peak_bytes() -> int:
    """Most resident memory this process ever had, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if platform.system() == "Darwin" else most * 1024


def hardware() -> dict[str, Any]:
    """Processor, cores, memory, and how busy the machine has been."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "platform": platform.platform(),
        "load": os.getloadavg(),
    }


def gemm_peak(args: dict[str, Any]) -> dict[str, Any]:
    """Best rate of square matrix products on all cores: what utilisation is a share of.

    Args:
        args: `size` of the matrices; seconds to `warm` up and to be `timed`, for each dtype.

    Returns:
        `peak_flops` by dtype (the fastest product seen), `threads`.
    """
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    peaks = {str(dtype).removeprefix("torch."): _rate(dtype, args) for dtype in (torch.bfloat16, torch.float32)}
    return {"peak_flops": peaks, "threads": torch.get_num_threads(), "settings": args}


def _rate(dtype: Any, args: dict[str, Any]) -> float:
    import torch

    size, warm = args["size"], args["warm"]
    left, right = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    began, fastest, start = time.perf_counter(), float("inf"), 0.0
    while start - began < warm + args["timed"]:
        start = time.perf_counter()
        torch.mm(left, right)
        if start - began >= warm:
            fastest = min(fastest, time.perf_counter() - start)
    return 2.0 * size**3 / fastest
