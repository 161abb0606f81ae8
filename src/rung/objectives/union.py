"""Every objective there is. Adding one: its file, one line here, one row in the matrix test."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rung.objectives.causal_lm import CausalLM
from rung.objectives.classification import Classification

AnyObjective = Annotated[CausalLM | Classification, Field(discriminator="type")]
"""The objectives by their `type`."""
