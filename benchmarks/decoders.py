"""Training decoders: LoRA on templated messages, LoRA and full fine-tuning on GSM8K."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.spec import Bench, Peer, Size, Spec

LORA = {"type": "lora", "r": 16}
FULL = {"type": "full"}
OLD_TRL = "trl==1.10.0"
OLDER = "TRL 1.10 SFTTrainer, an older release that skips unsupervised positions"
BF16 = {"dtype": "bfloat16"}
NO_CHECKPOINTS = {"gradient_checkpointing": False}
BF16_TRAINED = "the trained weights are bf16: another dtype class"
NOT_TRL = "the loss is written by hand: the hand-written loop stands for it"
COMPILE_SECONDS = 100
SHORT = ("3a", "4b", "6a")
"""Steps of the ladder that the second LoRA bench goes up: the others move one setting that these hold at its better."""
LONG_ROWS = {"ladder": 16, "rows": 16, "warmup": 8, "held_out": 16, "batch": 8}
"""Sizes where rows are long: a step of sixteen takes a peer half a minute."""


def benches(size: Size) -> list[Bench]:
    """The three decoder benches."""
    return [_lora_sms(size), _lora_gsm8k(size), _full_gsm8k(size)]


def _lora_sms(size: Size) -> Bench:
    name, args = "lora_sms", _args("sms", LORA, 5e-4, size)
    ladder = _lora_ladder(name, args)
    interleaved = {"rows": size.rows}
    return Bench(
        name,
        "LoRA r=16 on all linear maps, SmolLM2-135M, templated SMS spam, batch 16",
        Spec(f"{name}.ours", "ours:train_decoder", {**args, **interleaved}),
        (
            Peer("TRL 1.16 SFTTrainer + PEFT, best settings", ladder, interleaved, 6.0, 0.5),
            Peer("TRL 1.16 SFTTrainer + PEFT, defaults", ladder[:1], interleaved, 12.0),
            Peer(OLDER, (_older(name, args, "3a", load=BF16),), interleaved),
            _by_hand(name, args, interleaved, 3.0),
        ),
        repeats=size.repeats,
        mfu_target=0.5,
    )


def _lora_gsm8k(size: Size) -> Bench:
    name, args = "lora_gsm8k", _args("gsm8k", LORA, 5e-4, _long(size))
    ladder = tuple(step for step in _lora_ladder(name, args) if step.note.partition(":")[0] in SHORT)
    return Bench(
        name,
        "LoRA r=16 on all linear maps, SmolLM2-135M, GSM8K (varied lengths, nothing shared), batch 8",
        Spec(f"{name}.ours", "ours:train_decoder", args),
        (
            Peer("TRL 1.16 SFTTrainer + PEFT, best settings", ladder, target=2.0),
            Peer(OLDER, (_older(name, args, "3a", load=BF16),)),
            _by_hand(name, args, {}, 1.2),
        ),
        repeats=size.repeats,
    )


def _full_gsm8k(size: Size) -> Bench:
    name, args = "full_gsm8k", _args("gsm8k", FULL, 5e-5, _long(size))
    return Bench(
        name,
        "full fine-tuning, SmolLM2-135M, GSM8K, batch 8",
        Spec(f"{name}.ours", "ours:train_decoder", args),
        (Peer("TRL 1.16 SFTTrainer, best settings", _full_ladder(name, args), target=1.5),),
        repeats=size.repeats,
    )


def _long(size: Size) -> Size:
    return size if size.smoke else replace(size, **LONG_ROWS)


def _args(data: str, method: dict[str, Any], rate: float, size: Size) -> dict[str, Any]:
    return {
        "data": data,
        "method": method,
        "rate": rate,
        "warmup": size.warmup,
        "rows": size.ladder,
        "held_out": size.held_out,
        "batch": size.batch,
    }


def _step(name: str, args: dict[str, Any], note: str, config: dict[str, Any] | None = None, **more: Any) -> Spec:
    """One step of TRL's ladder; `config` stands over TRL's defaults."""
    return Spec(f"{name}.trl.{note.split(':')[0]}", "trl_sft:train", {**args, "config": config or {}, **more}, note)


def _lora_ladder(bench: str, args: dict[str, Any]) -> tuple[Spec, ...]:
    """Every step, as the first bench goes up them."""
    off, pure = NO_CHECKPOINTS, {**NO_CHECKPOINTS, "bf16": False}
    weights = {"grouped": True, "load": BF16}
    bf16_adapters = _step(
        bench, args, "3c: bf16 weights and adapters, no autocast", pure, adapter_fp32=False, **weights
    )
    by_trainer = _step(bench, args, "8: HF Trainer, supervised positions alone reach the head", off, **weights)
    compiled = {**off, "torch_compile": True, "pad_to_multiple_of": 64}
    compiling = _step(bench, args, "5: as 3a, torch.compile, padded to multiples of 64", compiled, **weights)
    bound = _step(bench, args, "6b: as 3a, threads bound to cores", off, **weights)
    eager = {**BF16, "attn_implementation": "eager"}
    return (
        _step(bench, args, "0: defaults (fp32 weights, bf16 autocast, gradient checkpointing, random batches)"),
        _step(bench, args, "1: without gradient checkpointing", off),
        _step(bench, args, "2: and batches of like length", off, grouped=True),
        _step(bench, args, "3a: and bf16 weights, fp32 adapters, bf16 autocast", off, **weights),
        _step(bench, args, "3b: bf16 weights, fp32 adapters, no autocast", pure, **weights),
        replace(bf16_adapters, excluded=BF16_TRAINED),
        _step(bench, args, "4a: as 3a, packed (bfd) to 512", off, load=BF16, packed=512),
        _step(bench, args, "4b: as 3a, packed (bfd) to 1024", off, load=BF16, packed=1024),
        replace(compiling, timeout=COMPILE_SECONDS),
        _step(bench, args, "6a: as 3a, eager attention", off, grouped=True, load=eager),
        replace(bound, env={"OMP_PROC_BIND": "close", "OMP_PLACES": "cores"}),
        replace(by_trainer, run="hf_peft:train", excluded=NOT_TRL),
    )


def _older(bench: str, args: dict[str, Any], like: str, **more: Any) -> Spec:
    """TRL's older release at the settings of one of the newer one's steps."""
    step = _step(bench, args, f"7: TRL 1.10, as {like}", NO_CHECKPOINTS, grouped=True, **more)
    return replace(step, packages=(OLD_TRL,))


def _full_ladder(bench: str, args: dict[str, Any]) -> tuple[Spec, ...]:
    """The step that is best by the other benches; bf16 weights would mean a bf16 optimizer, which is another class."""
    note = "2: without gradient checkpointing, batches of like length"
    return (_step(bench, args, note, NO_CHECKPOINTS, grouped=True),)


def _by_hand(bench: str, args: dict[str, Any], interleaved: dict[str, Any], target: float | None) -> Peer:
    note = "bf16 weights, fp32 adapters, batches of like length, supervised positions alone reach the head"
    spec = Spec(f"{bench}.hand", "by_hand:train", {**args, "load": BF16}, note)
    return Peer("hand-written loop", (spec,), interleaved, target)
