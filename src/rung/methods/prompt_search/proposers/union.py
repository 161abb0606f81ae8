"""Every proposer a user can choose. Adding one: its file and one line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rung.methods.prompt_search.proposers.edit import Edit
from rung.methods.prompt_search.proposers.gradient import Gradient
from rung.methods.prompt_search.proposers.reflect import Reflect
from rung.methods.prompt_search.proposers.rewrite import Rewrite

AnyProposer = Annotated[Edit | Rewrite | Reflect | Gradient, Field(discriminator="type")]
"""From the cheapest to the dearest."""
