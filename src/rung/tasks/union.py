"""Every task there is. Adding one: its file and one line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rung.tasks.classification import ClassificationConfig
from rung.tasks.generation import GenerationConfig

AnyTask = Annotated[ClassificationConfig | GenerationConfig, Field(discriminator="type")]
"""The task configs by their `type`; classification where it is left out."""
