"""Every method there is. Adding one: its file, one line here, one row in the matrix test."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rung.methods.few_shot import FewShot
from rung.methods.full import Full
from rung.methods.head_only import HeadOnly
from rung.methods.lora import Lora
from rung.methods.majority import Majority
from rung.methods.tfidf import Tfidf
from rung.methods.zero_shot import ZeroShot

AnyMethod = Annotated[
    Majority | Tfidf | ZeroShot | FewShot | HeadOnly | Lora | Full,
    Field(discriminator="type"),
]
"""In ladder order: from nothing learned to everything trained."""

LADDER_ORDER = ("majority", "tfidf", "zero_shot", "few_shot", "prompt_search", "head_only", "lora", "full")
"""How far up a method stands; ties in cost go to the lower one."""
