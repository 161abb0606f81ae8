"""Measures the constants of `rung.run.memory_model` by counting what a forward pass keeps for the backward pass.

    python benchmarks/calibrate_memory.py        (seconds; prints the table as the module holds it)

Counted, not timed, on models with random weights and the shapes of real ones, cut to a few layers: any machine, busy
or not, gives the same numbers. What attention keeps is known from the plan and taken off; the rest, divided by the
outputs of the layers' linear maps, is the constant.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from rung.compute.fused import fuse
from rung.methods.adapted import Adapted
from rung.methods.base import WeightMethod
from rung.methods.full import Full
from rung.methods.lora import Lora
from rung.models.families import Family, describe
from rung.run.forecast import load_of
from rung.run.memory_model import attention_numbers, constant_of, outputs
from rung.types import IGNORED, Batch, Row, Tokens

LAYERS, VOCABULARY, LENGTH = 3, 1000, 64
METHODS: tuple[WeightMethod, ...] = (Lora(r=16), Full())
DTYPES = (torch.float32, torch.bfloat16)


def llama() -> Family:
    """SmolLM2-135M's shapes."""
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=576, intermediate_size=1536, num_hidden_layers=LAYERS,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
    )  # fmt: skip
    return describe(LlamaForCausalLM(config), "decoder")


def gpt2() -> Family:
    """GPT-2's shapes."""
    config = GPT2Config(vocab_size=VOCABULARY, n_layer=LAYERS, bos_token_id=None, eos_token_id=None)
    return describe(GPT2LMHeadModel(config), "decoder")


def bert() -> Family:
    """MiniLM-L6's shapes."""
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=384, intermediate_size=1536, num_hidden_layers=LAYERS, num_attention_heads=12
    )
    return describe(BertModel(config, add_pooling_layer=False), "encoder")


def t5() -> Family:
    """T5-small's shapes, of the first release."""
    config = T5Config(vocab_size=VOCABULARY, num_layers=LAYERS)
    return describe(T5ForConditionalGeneration(config), "encoder_decoder")


def bart() -> Family:
    """BART-base's shapes."""
    config = BartConfig(
        vocab_size=VOCABULARY, d_model=768, encoder_layers=LAYERS, decoder_layers=LAYERS, encoder_attention_heads=12,
        decoder_attention_heads=12, encoder_ffn_dim=3072, decoder_ffn_dim=3072,
    )  # fmt: skip
    return describe(BartForConditionalGeneration(config), "encoder_decoder")


def main() -> None:
    """Count, and print the table."""
    for family, method, dtype in product((llama, gpt2, bert, t5, bart), METHODS, DTYPES):
        built = family()
        torch.nn.Module.to(built.module, dtype).eval()
        fuse(built)
        adapted = method.attach(built, None, 0)
        adapted.training(True)
        print(f"    {constant_of(adapted)}: {constant(adapted):.2f},".replace("'", '"'))


def constant(adapted: Adapted) -> float:
    """Numbers kept per output, from what four rows more cost."""
    small, large = (kept(adapted, rows) for rows in (2, 6))
    return (large[0] - small[0]) / (large[1] - small[1])


def kept(adapted: Adapted, count: int) -> tuple[float, float]:
    """Numbers kept without attention's, and outputs of the linear maps, for a batch of `count` rows."""
    generator = torch.Generator().manual_seed(count)
    rows = [tuple(torch.randint(10, VOCABULARY, (LENGTH,), generator=generator).tolist()) for _ in range(count)]
    two_sided = adapted.family.kind == "encoder_decoder"
    labels = (IGNORED,) * (LENGTH - 1)
    sequences = [Tokens(row, labels + row[-1:], source_ids=row if two_sided else None) for row in rows]
    last = [[LENGTH - 2] for _ in rows]
    parameters = {value.untyped_storage().data_ptr() for value in adapted.family.module.parameters()}
    sizes: dict[int, tuple[int, Any]] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            # The storage is held, so that no later one gets its address.
            sizes[storage.data_ptr()] = (storage.nbytes(), storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, _same):
        states = adapted.states(sequences, last)
    assert states.requires_grad
    load = load_of(adapted, Batch(tuple(Row(str(at), (one,)) for at, one in enumerate(sequences))))
    number = sum(size for size, _ in sizes.values()) / adapted.family.embedding.weight.element_size()
    layers = len(adapted.family.all_layers())
    return number - layers * attention_numbers(adapted, load), outputs(adapted) * load.through


def _same(saved: Any) -> Any:
    return saved


if __name__ == "__main__":
    main()
