"""L0: in fp64, losses to 1e-12 and every gradient to 1e-10 of what transformers and PEFT compute row by row."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import DynamicCache

from rung.compute.output import OutputLayer
from rung.compute.states import Additions
from rung.methods.adapted import Adapted
from rung.methods.full import Full
from rung.methods.head_only import HeadOnly
from rung.methods.lora import Lora
from rung.objectives.classification import Classification
from rung.types import Batch, HeadSpec, Row, Tokens

DECODERS = ["llama", "gpt2", "qwen2", "qwen3", "mistral", "gemma", "phi"]
ENCODERS = ["bert", "roberta", "distilbert"]
LAYOUTS = ["apart", "template", "few_shot", "preference", "group", "repeated", "long"]


class Rooted(Adapted):
    """A model with something learned before every sequence."""

    before = Additions()

    @property
    def additions(self) -> Additions:
        return self.before


def of(adapted: Adapted, tiny: ModuleType, loss: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    loss.backward()
    return loss.detach(), tiny.gradients(adapted.family.module)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", DECODERS)
def test_full_on_decoders(tiny: ModuleType, plain: ModuleType, name: str, layout: str) -> None:
    rows = plain.LAYOUTS[layout]()
    adapted = Full().attach(tiny.build(name), None, 0)
    found = of(adapted, tiny, plain.product_loss(adapted, layout, rows))
    plain.own_attention(adapted.family)
    plain.require_equal(found, of(adapted, tiny, plain.plain_loss(adapted.family.module, "decoder", layout, rows)))


@pytest.mark.parametrize("layout", ["apart", "repeated", "long"])
@pytest.mark.parametrize("name", ENCODERS)
def test_full_on_encoders(tiny: ModuleType, plain: ModuleType, name: str, layout: str) -> None:
    rows = plain.LAYOUTS[layout]()
    adapted = Full().attach(tiny.build(name), None, 0)
    found = of(adapted, tiny, plain.product_loss(adapted, layout, rows))
    plain.own_attention(adapted.family)
    plain.require_equal(found, of(adapted, tiny, plain.plain_loss(adapted.family.module, "encoder", layout, rows)))


@pytest.mark.parametrize("layout", ["long_block", "deep"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma", "phi", "bert", "roberta"])
def test_long_rows(tiny: ModuleType, plain: ModuleType, name: str, layout: str) -> None:
    rows = plain.LAYOUTS[layout]()
    adapted = Full().attach(plain.lengthened(tiny, name), None, 0)
    found = of(adapted, tiny, plain.product_loss(adapted, layout, rows))
    plain.own_attention(adapted.family)
    kind = adapted.family.kind
    plain.require_equal(found, of(adapted, tiny, plain.plain_loss(adapted.family.module, kind, layout, rows)))


@pytest.mark.parametrize("layout", ["apart", "template", "few_shot", "preference"])
@pytest.mark.parametrize("name", [*DECODERS, "bert", "roberta"])
def test_lora_equals_peft(tiny: ModuleType, plain: ModuleType, name: str, layout: str) -> None:
    settings = {"r": 3, "lora_alpha": 5, "use_rslora": True} if layout == "apart" else {"r": 4}
    rows = plain.LAYOUTS[layout]()
    adapted = Lora.model_validate(settings).attach(tiny.build(name), None, 0)
    adapted.family.module.double()
    plain.randomise(adapted.own, 0.2)
    adapted.training(model_dropout=False)
    loss = plain.product_loss(adapted, layout, rows)
    loss.backward()
    family = tiny.build(name)
    model, theirs = plain.in_peft(family, settings, adapted.own)
    expected = plain.plain_loss(model, family.kind, layout, rows)
    expected.backward()
    found, wanted = ({key: value.grad for key, value in part.items()} for part in (adapted.own, theirs))
    plain.require_equal((loss.detach(), found), (expected.detach(), wanted))


@pytest.mark.parametrize("layout", ["template", "few_shot", "preference", "group"])
@pytest.mark.parametrize("name", DECODERS)
def test_virtual_tokens(tiny: ModuleType, plain: ModuleType, name: str, layout: str) -> None:
    rows = plain.LAYOUTS[layout]()
    adapted = Rooted(tiny.build(name))
    family = adapted.family
    learned = torch.randn(6, family.embedding.embedding_dim, generator=torch.Generator().manual_seed(3)).double()
    learned.requires_grad_()

    def embed(ids: torch.Tensor) -> torch.Tensor:
        words = family.embedding(ids.clamp(max=tiny.VOCABULARY - 1))
        return torch.where((ids >= tiny.VOCABULARY).unsqueeze(1), learned[(ids - tiny.VOCABULARY).clamp(min=0)], words)

    def inputs(row: Tokens) -> dict[str, Any]:
        return {"inputs_embeds": torch.cat([learned, family.embedding(torch.tensor(row.input_ids))]).unsqueeze(0)}

    adapted.before = Additions(tuple(range(tiny.VOCABULARY, tiny.VOCABULARY + 6)), embed)
    found, gradients = of(adapted, tiny, plain.product_loss(adapted, layout, rows))
    gradients["learned"], learned.grad = learned.grad, None
    plain.own_attention(family)
    expected, wanted = of(adapted, tiny, plain.plain_loss(family.module, "decoder", layout, rows, inputs))
    plain.require_equal((found, gradients), (expected, wanted | {"learned": learned.grad}))


@pytest.mark.parametrize("layout", ["template", "few_shot", "preference", "group"])
@pytest.mark.parametrize("name", DECODERS)
def test_learned_prefixes(tiny: ModuleType, plain: ModuleType, name: str, layout: str) -> None:
    rows = plain.LAYOUTS[layout]()
    adapted = Rooted(tiny.build(name))
    config = adapted.family.module.config
    heads = getattr(config, "num_key_value_heads", config.num_attention_heads)
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randn(2, 2, heads, 5, config.hidden_size // config.num_attention_heads, generator=generator)
    learned = drawn.double().requires_grad_()

    def inputs(row: Tokens) -> dict[str, Any]:
        cache = DynamicCache()
        for layer in range(2):
            cache.update(learned[layer, 0].unsqueeze(0), learned[layer, 1].unsqueeze(0), layer)
        return {"input_ids": torch.tensor([row.input_ids]), "past_key_values": cache, "use_cache": True}

    adapted.before = Additions(prefixes={layer: (learned[layer, 0], learned[layer, 1]) for layer in range(2)})
    found, gradients = of(adapted, tiny, plain.product_loss(adapted, layout, rows))
    gradients["learned"], learned.grad = learned.grad, None
    plain.own_attention(adapted.family)
    expected, wanted = of(adapted, tiny, plain.plain_loss(adapted.family.module, "decoder", layout, rows, inputs))
    plain.require_equal((found, gradients), (expected, wanted | {"learned": learned.grad}))


@pytest.mark.parametrize("method", [Full(), HeadOnly()], ids=["full", "head_only"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("name", [*ENCODERS, "llama"])
def test_an_output_layer_over_texts(
    tiny: ModuleType, plain: ModuleType, name: str, pooling: str, method: Full | HeadOnly
) -> None:
    texts = [row.input_ids for layout in ("template", "repeated") for row in plain.LAYOUTS[layout]()]
    rows = [Row(str(at), (Tokens(ids),), at % 3) for at, ids in enumerate(texts)]
    head = OutputLayer(HeadSpec("sequence", 3, ("a", "b", "c"), pooling), 32, 0).double()
    adapted = method.attach(tiny.build(name), head, 0)
    adapted.prepare([row.sequences[0] for row in rows], pooling)
    adapted.training(model_dropout=False)
    term = Classification.model_validate({"pooling": pooling}).loss(adapted, Batch(tuple(rows))).terms["classification"]
    found, gradients = of(adapted, tiny, term.sum / term.count)
    gradients |= {f"head.{key}": value for key, value in tiny.gradients(head).items()}
    plain.own_attention(adapted.family)
    read = {"mean": lambda one: one.mean(0), "cls": lambda one: one[0], "last": lambda one: one[-1]}[pooling]
    bodies = [adapted.family.body(input_ids=torch.tensor([ids])).last_hidden_state[0] for ids in texts]
    logits = head.classifier(torch.stack([read(body) for body in bodies]))
    expected, wanted = of(adapted, tiny, cross_entropy(logits, torch.tensor([row.target for row in rows])))
    wanted |= {f"head.{key}": value for key, value in tiny.gradients(head).items()}
    plain.require_equal((found, gradients), (expected, wanted))
