"""The base of every setting: typed, frozen, and without unknown keys."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A settings object. Unknown keys are errors; values can't change after they are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)

    usual: ClassVar[bool] = False
    """Whether a union of sections means this one where `type` is left out."""
