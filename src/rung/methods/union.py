"""Every method there is. Adding one: its file, one line here, one row in the matrix test."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rung.methods.adapter import Adapter
from rung.methods.bitfit import BitFit
from rung.methods.few_shot import FewShot
from rung.methods.full import Full
from rung.methods.head_only import HeadOnly
from rung.methods.ia3 import Ia3
from rung.methods.lora import Lora
from rung.methods.majority import Majority
from rung.methods.peft import Peft
from rung.methods.prefix import PrefixTuning
from rung.methods.prompt_search.method import PromptSearch
from rung.methods.soft_prompt import SoftPrompt
from rung.methods.tfidf import Tfidf
from rung.methods.top_layers import TopLayers
from rung.methods.zero_shot import ZeroShot

AnyMethod = Annotated[
    Majority
    | Tfidf
    | ZeroShot
    | FewShot
    | PromptSearch
    | SoftPrompt
    | PrefixTuning
    | HeadOnly
    | BitFit
    | Ia3
    | Adapter
    | Lora
    | Peft
    | TopLayers
    | Full,
    Field(discriminator="type"),
]
"""In ladder order: from nothing learned to everything trained."""

LADDER_ORDER = (
    *("majority", "tfidf", "zero_shot", "few_shot", "prompt_search", "head_only", "soft_prompt", "prefix"),
    *("bitfit", "ia3", "adapter", "lora", "peft", "top_layers", "full"),
)
"""How far up a method stands; ties in cost go to the lower one."""
