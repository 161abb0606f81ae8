"""`rung config-schema`: every setting, as JSON schema, for editors and other programs."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from rung.cli import console

config_schema = App(
    name="config-schema",
    help_epilogue="""Examples:
  rung config-schema
  rung config-schema ladder > ladder.schema.json""",
)


@config_schema.default
def _config_schema(kind: Literal["run", "ladder", "synth"] = "run", /) -> int:
    """Print the JSON schema of the settings: names, types, defaults, meanings.

    Args:
        kind: Settings of `rung train` (run), of `rung climb` (ladder) or of `rung data synth` (synth).
    """
    if kind == "run":
        from rung.run import RunConfig as Settings
    elif kind == "synth":
        from rung.synth.settings import SynthConfig as Settings
    else:
        from rung.ladder.plan import LadderConfig as Settings

    console.print_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()})
    return 0
