"""Encoder-decoders: the source goes to the encoder, the answer to the decoder, the loss is transformers' own."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import MarianConfig, MarianMTModel

from rung.compute.seq2seq import read
from rung.compute.states import NOTHING, Additions
from rung.engine.sources import DatasetSource
from rung.errors import ConfigError, ModelError
from rung.methods.adapted import Adapted
from rung.methods.full import Full
from rung.methods.lora import Lora
from rung.methods.soft_prompt import SoftPrompt
from rung.methods.top_layers import TopLayers
from rung.models.families import describe
from rung.objectives.seq2seq import Seq2Seq
from rung.types import Batch, Example, Message, Row, Tokens


def row(number: int, source: tuple[int, ...], answer: tuple[int, ...]) -> Row:
    return Row(str(number), (Tokens((0, *answer[:-1]), answer, source_ids=source),))


ROWS = [
    row(0, (11, 12, 13, 2), (31, 32, 2)),
    row(1, (14, 2), (33, 34, 35, 36, 2)),
    row(2, (15, 16, 17, 18, 19, 20, 2), (37, 2)),
    row(3, (21, 22, 2), (38, 39, 2)),
]


def build(tiny: ModuleType, name: str) -> Any:
    family = tiny.build(name)
    beside = getattr(family.module, "final_logits_bias", None)
    if beside is not None:
        nn.init.normal_(beside, generator=torch.Generator().manual_seed(4))
    assert not family.flat
    return family


def plain_loss(module: nn.Module) -> torch.Tensor:
    def padded(values: list[tuple[int, ...]], fill: int) -> torch.Tensor:
        return pad_sequence([torch.tensor(value) for value in values], batch_first=True, padding_value=fill)

    sequences = [one.sequences[0] for one in ROWS]
    return module(
        input_ids=padded([one.source_ids for one in sequences], 0),
        attention_mask=padded([(1,) * len(one.source_ids) for one in sequences], 0),
        labels=padded([one.labels for one in sequences], -100),
    ).loss


@pytest.mark.parametrize("name", ["t5", "t5_untied", "bart"])
def test_loss_and_gradients_equal_transformers(tiny: ModuleType, name: str) -> None:
    adapted = Full().attach(build(tiny, name), None, seed=0)
    module = adapted.family.module
    expected = plain_loss(module)
    expected.backward()
    wanted = tiny.gradients(module)
    term = Seq2Seq().loss(adapted, Batch(tuple(ROWS))).terms["seq2seq"]
    found = term.sum / term.count
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    found.backward()
    gradients = tiny.gradients(module)
    assert set(gradients) == set(wanted)
    floor = 1e-3 * max(float(value.norm()) for value in wanted.values())
    for part, value in wanted.items():
        assert float((gradients[part] - value).norm()) <= 1e-10 * max(float(value.norm()), floor), part


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_lora_learns_on_both_sides(tiny: ModuleType, fit: Any, name: str) -> None:
    base = Adapted(build(tiny, name)).logprobs([one.sequences[0] for one in ROWS])
    adapted = Lora(r=4).attach(build(tiny, name), None, seed=1)
    sides = {side for path in adapted.layers for side in ("encoder", "decoder") if f"{side}." in path}
    assert sides == {"encoder", "decoder"}
    losses = fit(adapted, Seq2Seq(), DatasetSource(ROWS, 2, 2, 7, False), 40, 1e-2)
    assert losses[-1] < 0.9 * losses[0]
    with adapted.disabled():
        assert torch.equal(adapted.logprobs([one.sequences[0] for one in ROWS]), base)


def test_words_beside_virtual_tokens_are_scaled_as_the_model_scales_them() -> None:
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    more = {"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "pad_token_id": 0, "decoder_start_token_id": 0}
    torch.manual_seed(0)
    config = MarianConfig(vocab_size=40, d_model=16, max_position_embeddings=32, scale_embedding=True, **sizes, **more)
    family = describe(MarianMTModel(config).eval(), "encoder_decoder")
    prompt = SoftPrompt(num_virtual_tokens=2).attach(family, None, seed=0).prompt
    assert prompt.scale == 4.0
    sources = [(11, 12, 13, 2), (14, 2)]
    embedded = read(family, sources, Additions(embed=prompt)).states
    torch.testing.assert_close(embedded, read(family, sources, NOTHING).states)


@pytest.mark.parametrize(
    "example",
    [
        Example("7", messages=(Message("user", "a"),), tools=({"name": "f"},)),
        Example(
            "7", messages=(Message("user", "a"), Message("assistant", "", {"tool_calls": [1]}), Message("tool", "b"))
        ),
    ],
)
def test_tools_are_refused_wherever_they_stand(example: Example) -> None:
    for ask in (lambda: Seq2Seq().prompts(None, [example]), lambda: Seq2Seq().encode_all([example], None, 9)):
        with pytest.raises(ModelError, match="row 7 calls tools or reasons"):
            ask()


def test_top_layers_counts_both_sides(tiny: ModuleType) -> None:
    blocks = len(build(tiny, "t5").all_layers())
    assert TopLayers(num_layers=blocks).attach(build(tiny, "t5"), None, seed=0).trainable
    with pytest.raises(ConfigError, match=f"num_layers={blocks + 1}, and t5 has {blocks} blocks"):
        TopLayers(num_layers=blocks + 1).attach(build(tiny, "t5"), None, seed=0)
