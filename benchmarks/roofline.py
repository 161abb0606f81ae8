"""Where a training step's time goes, and how fast it could go: the profile and the roofline behind the utilisation.

The time of each operator is read off PyTorch's profiler over some steps. Every matrix product is then timed alone, in
its own shape, with weights that are not in the caches (thirty of them in turn, as layers are); the roofline is a step
that does nothing but these products, each at that rate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.spec import Size, Spec, Survey

STEPS, WARM = 3, 2
LAYERS, NUMBERS = 30, 2**26
"""Weights that a product is timed with in turn, and how many numbers these hold at most (two weights are the least)."""
REPEATS = 4
PRODUCTS = {"aten::mm": 0, "aten::addmm": 1, "aten::addmm_": 1, "aten::bmm": 0}
"""Operators that multiply matrices, and where their first factor stands among the arguments."""
OTHERS = {
    "attention's gathering and softmax": ("softmax", "index_select", "index_fill"),
    "activations, norms, sums, products by element": (
        *("mul", "add", "sub", "silu", "gelu", "pow", "mean", "rsqrt", "norm", "sum", "cat", "exp", "neg", "div"),
    ),
    "copies and casts": ("copy_", "_to_copy", "clone", "contiguous"),
    "dropout's masks": ("bitwise", "shift", "ge", "random_", "arange"),
    "optimizer": ("adamw", "AdamW", "Adam"),
}


def benches(size: Size) -> list[Survey]:
    """The decoder bench with a target of utilisation, and the encoder bench."""
    sms = {"data": "sms", "method": {"type": "lora", "r": 16}, "rate": 5e-4, "warmup": size.warmup}
    sms |= {"rows": (STEPS + WARM) * size.batch, "held_out": 2, "batch": size.batch}
    encoder = {"rows": 32 * (1 + WARM + 8), "held_out": 8, "batch": 32, "epochs": 1, "rate": 3e-4}
    encoder |= {"method": {"type": "full"}}
    specs = [
        Spec("roofline.lora_sms", "roofline:decoder", sms, "LoRA on templated messages"),
        Spec("roofline.encoder_full", "roofline:encoder", encoder, "full fine-tuning of MiniLM"),
    ]
    return [
        Survey(
            "roofline",
            "where a step's time goes, and what its matrix products alone would take",
            specs,
            "roofline:render",
        )
    ]


def decoder(args: dict[str, Any]) -> dict[str, Any]:
    """Profile steps of `ours.train_decoder`."""
    from benchmarks import ours

    return _profiled(ours, ours.train_decoder, args, STEPS)


def encoder(args: dict[str, Any]) -> dict[str, Any]:
    """Profile steps of `ours_encoder.train_encoder`."""
    from benchmarks import ours_encoder

    return _profiled(ours_encoder, ours_encoder.train_encoder, args, 8)


def _profiled(
    module: Any, function: Callable[[dict[str, Any]], dict[str, Any]], args: dict[str, Any], steps: int
) -> dict[str, Any]:
    """Run a bench's own side and profile some of its steps.

    Returns:
        What README.md asks for; `step_mean`, seconds of a profiled step; `parts`, seconds a step by kind of work;
        `products`, per shape its calls a step, operations, seconds in the step and alone.
    """
    from torch.profiler import ProfilerActivity, profile

    profiler = profile(activities=[ProfilerActivity.CPU], record_shapes=True)

    class Clock(module.Clock):
        """Profiles the steps after the first ones."""

        taken = 0

        def after_step(self, progress: Any) -> None:
            super().after_step(progress)
            self.taken += 1
            if self.taken == WARM:
                profiler.__enter__()
            if self.taken == WARM + steps:
                profiler.__exit__(None, None, None)

    module.Clock = Clock
    result = function(args)
    events = profiler.key_averages(group_by_input_shape=True)
    products = [_product(event, steps) for event in events if event.key in PRODUCTS]
    parts = {"matrix products": sum(one["seconds"] for one in products)}
    for event in events:
        if event.key not in PRODUCTS:
            parts[_kind(event.key)] = parts.get(_kind(event.key), 0.0) + event.self_cpu_time_total / 1e6 / steps
    kept = ("rows", "tokens", "seconds", "flops", "steps", "peak_bytes", "step_seconds", "held_out_loss", "settings")
    whole = result["step_seconds"][WARM : WARM + steps]
    return {
        **{key: result[key] for key in kept if key in result},
        "step_mean": sum(whole) / steps,
        "parts": parts,
        "products": products,
    }


def _kind(name: str) -> str:
    for kind, words in OTHERS.items():
        if any(word in name for word in words):
            return kind
    return "all else: allocation, views, Python"


def _product(event: Any, steps: int) -> dict[str, Any]:
    shapes = [tuple(shape) for shape in event.input_shapes if shape]
    left, right = shapes[PRODUCTS[event.key]], shapes[PRODUCTS[event.key] + 1]
    inner, out = left[-1], right[-1]
    return {
        "operator": event.key.removeprefix("aten::"),
        "batch": math.prod(left[:-2]),
        "shape": [left[-2], inner, out],
        "calls": event.count / steps,
        "operations": 2.0 * math.prod(left) * out,
        "seconds": event.self_cpu_time_total / 1e6 / steps,
        "alone": _alone(left, inner, out),
    }


def _alone(left: Sequence[int], inner: int, out: int) -> float:
    """Seconds of a product by itself, its weights out of the caches; the best of some passes."""
    import torch

    x = torch.randn(*left).bfloat16()
    count = max(2, min(LAYERS, NUMBERS // (math.prod(left[:-2]) * inner * out)))
    weights = [torch.randn(*left[:-2], out, inner).bfloat16() for _ in range(count)]
    fastest = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        for weight in weights:
            x @ weight.transpose(-1, -2)
        fastest = min(fastest, (time.perf_counter() - began) / count)
    return fastest


def render(found: Mapping[str, Any]) -> list[str]:
    """The two profiles as markdown."""
    lines = []
    for name, one in found.items():
        if one["status"] == "ok":
            note, seconds = one["spec"]["note"], one["step_mean"]
            lines += [f"**{name.partition('.')[2]}**: {note}, {seconds:.3f} s a step under the profiler.", ""]
            lines += _parts(one) + _products(one)
    return lines


def _parts(one: Mapping[str, Any]) -> list[str]:
    total = sum(one["parts"].values())
    alone = sum(product["alone"] * product["calls"] for product in one["products"])
    operations = sum(product["operations"] * product["calls"] for product in one["products"])
    ranked = sorted(one["parts"].items(), key=lambda part: -part[1])
    return [
        "| of a step | ms | share |",
        "|---|---|---|",
        *(f"| {kind} | {1e3 * seconds:.0f} | {seconds / total:.0%} |" for kind, seconds in ranked),
        "",
        f"The products do {operations / 1e9:.0f} GFLOP a step. Alone, each at the rate of its own shape, they take "
        f"{1e3 * alone:.0f} ms ({operations / alone / 1e9:.0f} GFLOP/s): a step can't be faster, and the one measured "
        f"takes {total / alone:.2f} times that.",
        "",
    ]


def _products(one: Mapping[str, Any]) -> list[str]:
    ranked = sorted(one["products"], key=lambda product: -product["seconds"])[:8]
    return [
        "| product (rows x inner x columns) | calls | GFLOP/s in the step | alone |",
        "|---|---|---|---|",
        *(
            f"| {product['operator']} {_sides(product)} | {product['calls']:.0f} "
            f"| {product['operations'] * product['calls'] / product['seconds'] / 1e9:.0f} "
            f"| {product['operations'] / product['alone'] / 1e9:.0f} |"
            for product in ranked
        ),
        "",
    ]


def _sides(product: Mapping[str, Any]) -> str:
    sides = " x ".join(str(side) for side in product["shape"])
    return f"{product['batch']} of {sides}" if product["batch"] > 1 else sides
