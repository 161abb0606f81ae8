"""Prefix tuning: learned keys and values stand before every sequence in every layer (of an encoder-decoder's decoder).

Paper: Li & Liang 2021, "Prefix-Tuning: Optimizing Continuous Prompts for Generation", arXiv 2101.00190. Its network
over the prefix (`prefix_projection`) is folded away when the run is saved. Saved in PEFT's format, but for
encoder-decoders: of these PEFT gives layer i what belongs to layer 2 i, counted around, so that with an even number of
layers half of a prefix is never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from rung.compute.output import seeded
from rung.compute.scoring import after
from rung.compute.states import Additions, Prefixes
from rung.errors import ConfigError, IncompatibleError
from rung.methods.adapted import Adapted, Switch
from rung.methods.adapter_config import TASK_TYPES
from rung.methods.base import WeightMethod
from rung.models.facts import ModelFacts, read_config
from rung.models.families import Family

_SPREAD = 0.02
_SAVED = "prompt_embeddings"
"""PEFT's name of the folded prefix."""


class Prefix(Switch):
    """The trained keys and values, `[p, layers * 2 * width]` as PEFT lays them out, or the network that gives them.

    Args:
        start: What they start from; of a network, the embeddings it reads.
        network: The network, or None.
        heads: Key heads of a layer.
        layers: Layers of the model.
    """

    def __init__(self, start: torch.Tensor, network: nn.Sequential | None, heads: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(start)
        self.transform = network
        self.heads = heads
        self.layers = layers

    def flat(self) -> torch.Tensor:
        """`[p, layers * 2 * width]`."""
        return self.embedding if self.transform is None else self.transform(self.embedding)

    def by_layer(self, dtype: torch.dtype) -> Prefixes:
        """Keys and values `[heads, p, d]` by layer."""
        flat = self.flat().to(dtype)
        parts = flat.view(len(flat), self.layers, 2, self.heads, -1).permute(1, 2, 3, 0, 4)
        return {number: (part[0], part[1]) for number, part in enumerate(parts)}


class PrefixAdapted(Adapted):
    """A frozen model under learned keys and values."""

    def __init__(self, family: Family, head: nn.Module | None, prefix: Prefix, settings: PrefixTuning) -> None:
        plain = prefix.transform is None
        own = {_SAVED: prefix.embedding} if plain else dict(prefix.named_parameters())
        super().__init__(family, head, own)
        self.prefix = prefix
        self.settings = settings

    def switches(self) -> list[Switch]:
        """The prefix."""
        return [self.prefix]

    @property
    def additions(self) -> Additions:
        """Keys and values before every sequence."""
        if not self.prefix.enabled:
            return super().additions
        return Additions(prefixes=self.prefix.by_layer(self.family.embedding.weight.dtype))

    def state(self) -> dict[str, torch.Tensor]:
        """The prefix, its network folded away."""
        return {_SAVED: self.prefix.flat().detach()}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Set the folded prefix; a network is given up, since it can't be found again.

        Raises:
            KeyError: When names or shapes differ.
        """
        if self.prefix.transform is not None:
            shape = self.prefix.flat().shape
            self.prefix.transform = None
            self.prefix.embedding = nn.Parameter(self.prefix.embedding.new_empty(shape))
            self.own = {_SAVED: self.prefix.embedding}
        super().load(tensors)

    def describe(self) -> dict[str, object]:
        """PEFT's `adapter_config.json`; the width is that of the keys, as PEFT counts for grouped heads.

        PEFT gives the prefix as a cache. Where a model takes none the format is Rung's own, and so it is where PEFT
        gives layers those of others.
        """
        takes = "past_key_values" in signature(self.family.body.forward).parameters
        if not takes or self.family.kind == "encoder_decoder":
            return {"rung_type": "prefix", "num_virtual_tokens": self.settings.num_virtual_tokens}
        config = self.family.module.config
        return {
            "peft_type": "PREFIX_TUNING",
            "task_type": TASK_TYPES[self.family.kind],
            "num_virtual_tokens": self.settings.num_virtual_tokens,
            "token_dim": self.prefix.flat().shape[1] // (2 * config.num_hidden_layers),
            "num_layers": config.num_hidden_layers,
            "num_attention_heads": self.prefix.heads,
            "num_transformer_submodules": 1,
            "encoder_hidden_size": config.hidden_size,
            "prefix_projection": False,
            "inference_mode": True,
        }


class PrefixTuning(WeightMethod):
    """Prefix tuning (Li & Liang 2021)."""

    type: Literal["prefix"] = "prefix"
    default_learning_rate: ClassVar[dict[str, float]] = {"encoder": 5e-2, "decoder": 3e-2}

    num_virtual_tokens: int = Field(default=20, ge=1)
    """How many keys and values a layer gets."""
    prefix_projection: bool = False
    """Train a network that gives the prefix, and fold it away at the end."""
    encoder_hidden_size: int | None = Field(default=None, ge=1)
    """Width of that network; None = the model's."""

    @property
    def virtual_tokens(self) -> int:
        """Positions that the prefix takes."""
        return self.num_virtual_tokens

    def require(self, facts: ModelFacts, longest: int) -> None:
        """Rows and prefix must fit into a sliding window, which the prefix would slide out of."""
        config = {} if facts.path is None else read_config(facts.path)
        window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
        if config.get("model_type") == "modernbert":
            window = config.get("local_attention", 128) // 2
        if window is not None and longest + self.num_virtual_tokens > window:
            raise ConfigError(
                f"max_length={longest} with method=prefix: {facts.model_type} attends to {window} tokens at a time, "
                f"and the {self.num_virtual_tokens} learned ones would slide out",
                f"Set max_length={window - self.num_virtual_tokens} or less, or use soft_prompt.",
            )

    def attach(self, family: Family, head: nn.Module | None, seed: int) -> PrefixAdapted:
        """Freeze the model; the prefix stands beside it, not in it.

        Raises:
            IncompatibleError: The model's attention can't be given keys.
        """
        if not family.flat and family.kind != "encoder_decoder":
            raise IncompatibleError(
                f"method=prefix gives every layer keys and values, and the attention of "
                f"{family.module.config.model_type} takes none from outside",
                "Use soft_prompt or lora with this model.",
            )
        family.module.requires_grad_(False)
        layers, heads, width = _shape(family)
        total = 2 * layers * heads * width
        if self.prefix_projection:
            start, network = self._network(family.module.config.hidden_size, total, seed)
        else:
            start, network = self._start(family, total, seed), None
        number_layers(family)
        prefix = Prefix(start, network, heads, layers)
        prefix.to(family.embedding.weight.device)
        return PrefixAdapted(family, head, prefix, self)

    def _network(self, width: int, total: int, seed: int) -> tuple[torch.Tensor, nn.Sequential]:
        inner = self.encoder_hidden_size or width
        network = nn.Sequential(nn.Linear(width, inner), nn.Tanh(), nn.Linear(inner, total))
        for name, value in network.named_parameters():
            if value.ndim == 2:
                nn.init.normal_(value, std=_SPREAD, generator=seeded(seed, name))
            else:
                nn.init.zeros_(value)
        start = torch.randn(self.num_virtual_tokens, width, generator=seeded(seed, "embedding"))
        return start, network

    def _start(self, family: Family, total: int, seed: int) -> torch.Tensor:
        """Keys and values of words drawn from the vocabulary, as the model itself makes them; small numbers elsewhere.

        (Li & Liang found real words' activations a far better start than random numbers.)
        """
        generator = seeded(seed, _SAVED)
        if family.kind != "decoder":
            return torch.randn(self.num_virtual_tokens, total, generator=generator) * _SPREAD
        ids = torch.randint(family.embedding.num_embeddings, (self.num_virtual_tokens,), generator=generator)
        with torch.no_grad():
            made = after(family, tuple(ids.tolist())).prefixes
        parts = torch.stack([torch.stack(made[number]) for number in sorted(made)])
        return parts.permute(3, 0, 1, 2, 4).reshape(self.num_virtual_tokens, total).float()


def _shape(family: Family) -> tuple[int, int, int]:
    """Layers that get a prefix, key heads of each, and the width of a head."""
    config = family.module.config
    if family.kind == "encoder_decoder":
        heads = getattr(config, "decoder_attention_heads", None) or config.num_attention_heads
        return len(family.layers()), heads, getattr(config, "d_kv", None) or config.hidden_size // heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_hidden_layers, heads, width


def number_layers(family: Family) -> None:
    """Let each attention know its layer: not all architectures number theirs."""
    for number, layer in enumerate(family.layers()):
        for part in layer.modules():
            vars(part)["rung_layer"] = number
