"""Every task there is. Adding one: its file and one line here."""

from __future__ import annotations

from rung.tasks.classification import ClassificationConfig

AnyTask = ClassificationConfig
"""The task configs by their `type`: a discriminated union from the second one on."""
