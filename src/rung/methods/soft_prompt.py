"""Soft prompts: embeddings of virtual tokens, trained alone, which every sequence begins with.

Paper: Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning", arXiv 2104.08691. Saved in PEFT's
format on decoders and encoder-decoders, where they stand before what the encoder reads. On encoders they stand
behind the first token, [CLS], whose place is what an encoder knows a text's beginning by; PEFT puts them before it.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn.functional import embedding

from rung.compute.output import seeded
from rung.compute.states import Additions
from rung.errors import ConfigError
from rung.methods.adapted import Adapted, Switch
from rung.methods.adapter_config import TASK_TYPES
from rung.methods.base import WeightMethod
from rung.models.families import Family
from rung.models.load import load_tokenizer

_SPREAD = 0.5
"""Half the width of the interval that random starts are drawn from (Lester et al.)."""


class VirtualTokens(Switch):
    """The trained embeddings, which stand for ids past the vocabulary's.

    Args:
        start: `[p, H]` what they start from.
        table: The model's embedding table.
        scale: What the model multiplies its words' embeddings with outside the table (Marian, Pegasus).
    """

    def __init__(self, start: torch.Tensor, table: nn.Embedding, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(start.float())
        self._table = [table]  # in a list: it is a part of the model already

    @property
    def table(self) -> nn.Embedding:
        """The model's embedding table."""
        return self._table[0]

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids that they stand for."""
        first = self.table.num_embeddings
        return tuple(range(first, first + len(self.weight)))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """`[N]` ids to `[N, H]`; the model's own table embeds its own ids, scale included (Gemma)."""
        words = self.table.num_embeddings
        known = self.table(ids.clamp(max=words - 1)) * self.scale
        virtual = embedding((ids - words).clamp(min=0), self.weight).to(known.dtype)
        return torch.where((ids >= words).unsqueeze(1), virtual, known)


class SoftPromptAdapted(Adapted):
    """A frozen model under virtual tokens."""

    def __init__(self, family: Family, head: nn.Module | None, prompt: VirtualTokens, settings: SoftPrompt) -> None:
        super().__init__(family, head, {"prompt_embeddings": prompt.weight})
        self.prompt = prompt
        self.settings = settings

    def switches(self) -> list[Switch]:
        """The virtual tokens."""
        return [self.prompt]

    @property
    def additions(self) -> Additions:
        """The virtual tokens before every sequence or source, or behind an encoder's first token."""
        if not self.prompt.enabled:
            return super().additions
        return Additions(self.prompt.ids, self.prompt, after=1 if self.family.kind == "encoder" else 0)

    def describe(self) -> dict[str, object]:
        """PEFT's `adapter_config.json`; on encoders Rung's own, since the tokens stand elsewhere."""
        if self.family.kind == "encoder":
            return {"rung_type": "soft_prompt", "num_virtual_tokens": self.settings.num_virtual_tokens}
        config = self.family.module.config
        return {
            "peft_type": "PROMPT_TUNING",
            "task_type": TASK_TYPES[self.family.kind],
            "num_virtual_tokens": self.settings.num_virtual_tokens,
            "token_dim": self.family.embedding.embedding_dim,
            "num_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads,
            "num_transformer_submodules": 1,
            "prompt_tuning_init": "RANDOM",
            "inference_mode": True,
        }


class SoftPrompt(WeightMethod):
    """Prompt tuning (Lester et al. 2021)."""

    type: Literal["soft_prompt"] = "soft_prompt"
    default_learning_rate: ClassVar[dict[str, float]] = {"encoder": 5e-2, "decoder": 1e-2}

    num_virtual_tokens: int = Field(default=20, ge=1)
    """How many embeddings are learned."""
    prompt_tuning_init: Literal["TEXT", "SAMPLE_VOCAB", "RANDOM"] = "SAMPLE_VOCAB"
    """What they start from: a text's embeddings, those of words drawn from the vocabulary, or small random numbers."""
    prompt_tuning_init_text: str | None = None
    """The text, for prompt_tuning_init=TEXT; repeated or cut to num_virtual_tokens."""

    @model_validator(mode="after")
    def _consistent(self) -> SoftPrompt:
        if (self.prompt_tuning_init == "TEXT") != (self.prompt_tuning_init_text is not None):
            raise ValueError("prompt_tuning_init=TEXT and prompt_tuning_init_text go together")
        return self

    @property
    def virtual_tokens(self) -> int:
        """Positions that the virtual tokens take."""
        return self.num_virtual_tokens

    def attach(self, family: Family, head: nn.Module | None, seed: int) -> SoftPromptAdapted:
        """Freeze the model; the virtual tokens stand beside it, not in it."""
        family.module.requires_grad_(False)
        reader = family.module.get_encoder() if family.kind == "encoder_decoder" else None
        prompt = VirtualTokens(self._start(family, seed), family.embedding, getattr(reader, "embed_scale", 1.0))
        prompt.to(family.embedding.weight.device)
        return SoftPromptAdapted(family, head, prompt, self)

    def _start(self, family: Family, seed: int) -> torch.Tensor:
        table, count = family.embedding, self.num_virtual_tokens
        generator = seeded(seed, "prompt_embeddings")
        if self.prompt_tuning_init == "RANDOM":
            return torch.empty(count, table.embedding_dim).uniform_(-_SPREAD, _SPREAD, generator=generator)
        if self.prompt_tuning_init == "TEXT":
            assert self.prompt_tuning_init_text is not None
            ids = text_ids(family, self.prompt_tuning_init_text, count)
        else:
            ids = torch.randint(table.num_embeddings, (count,), generator=generator)
        with torch.no_grad():
            return table(ids.to(table.weight.device)).detach().clone()


def text_ids(family: Family, text: str, count: int) -> torch.Tensor:
    """`[count]` token ids of a text, repeated or cut.

    Raises:
        ConfigError: The text has no token.
    """
    folder = family.module.name_or_path
    assert folder is not None, "the model was not loaded from a folder"
    tokenizer = load_tokenizer(Path(folder))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise ConfigError(f"method.prompt_tuning_init_text={text!r} has no token", "Give a text with words.")
    return torch.tensor((ids * -(-count // len(ids)))[:count])
