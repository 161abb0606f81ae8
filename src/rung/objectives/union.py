"""Every objective there is. Adding one: its file, one line here, one row in the matrix test."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rung.objectives.causal_lm import CausalLM
from rung.objectives.classification import Classification
from rung.objectives.seq2seq import Seq2Seq
from rung.objectives.worded import Worded

AnyObjective = Annotated[CausalLM | Classification | Seq2Seq, Field(discriminator="type")]
"""The objectives by their `type`."""


def worded(model_kind: str) -> Worded:
    """How a model of a kind is asked for a text, and for how likely one is."""
    return Seq2Seq() if model_kind == "encoder_decoder" else CausalLM()
