"""The same model through Rung and through PEFT."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoModelForCausalLM

from rung.methods.adapted import Adapted
from rung.models.families import Family
from rung.run.start import open_model
from rung.types import Tokens

IDS = ((5, 9, 17, 33, 6), (5, 9, 41), (11, 3, 8, 20))


def family(folder: Path) -> Family:
    return open_model(str(folder), {"dtype": "float32", "device": "cpu"}).family


def base(name: str, folder: Path) -> Any:
    return (AutoModel if name == "bert" else AutoModelForCausalLM).from_pretrained(folder, dtype=torch.float32)


def randomise(parameters: Iterable[torch.nn.Parameter], around: float = 0.0) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in parameters:
            value.copy_(around + torch.randn(value.shape, generator=generator) * 0.3)


def rows(family: Family) -> list[Tokens]:
    if family.kind == "encoder_decoder":
        return [Tokens(ids, source_ids=(*ids, 7)) for ids in IDS]
    return [Tokens(ids) for ids in IDS]


def states(adapted: Adapted) -> torch.Tensor:
    """`[P, H]` states of the last layer."""
    adapted.evaluating()
    with torch.no_grad():
        return adapted.states(rows(adapted.family), [range(len(ids)) for ids in IDS])


def ours(adapted: Adapted) -> torch.Tensor:
    """`[P, ...]` last states, or logits where there is an output layer over the vocabulary."""
    found, output = states(adapted), adapted.family.output
    with torch.no_grad():
        return found if output is None else output(found)


def theirs(model: Any) -> torch.Tensor:
    """The same of PEFT's model, without what stands before a text."""
    found = []
    for ids in IDS:
        one = answer(model, ids)
        found.append((one.logits if "logits" in one else one.last_hidden_state)[0, -len(ids) :])
    return torch.cat(found)


def their_states(model: Any, kind: str) -> torch.Tensor:
    """`[P, H]` states of the last layer, without those of what stands before a text."""
    found = []
    for ids in IDS:
        if kind == "encoder_decoder":
            one = answer(model, (*ids, 7), decoder_input_ids=torch.tensor([ids]), output_hidden_states=True)
            layers = one.decoder_hidden_states
        else:
            layers = answer(model, ids, output_hidden_states=True).hidden_states
        found.append(layers[-1][0, -len(ids) :])
    return torch.cat(found)


def answer(model: Any, ids: Sequence[int], **more: Any) -> Any:
    """What PEFT's model says of one text."""
    model.eval()
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), **more)


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((found - wanted).abs().max() / wanted.abs().max())
