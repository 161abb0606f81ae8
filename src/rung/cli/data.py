"""`rung data`: what is wrong with rows, how the model will see them, templates for them, and more of them (`synth`)."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from rung.cli import console
from rung.cli.settings import read_settings
from rung.cli.synth import EXAMPLES, synth
from rung.cli.template import template

data = App(
    name="data",
    help="Look at rows before anything is paid for, and have more of them written.",
    help_epilogue="""Examples:
  rung data show run.yaml
  rung data show run.yaml --rows 10 --split validation
  rung data show data.train=sms.csv model=minilm-l6 method=head_only
  rung data check run.yaml
  rung data template list
  rung data synth --seed-file seeds.jsonl --wanted 100 --out synth""",
)
data.command(App(name="synth", help_epilogue=EXAMPLES, default_command=synth))
data.command(template)

_check = App(
    name="check",
    help_epilogue="""Examples:
  rung data check run.yaml
  rung data check ladder.yaml data.clean.drop=[contaminated,near_duplicate]
  rung data check sms.csv""",
)
data.command(_check)


@_check.default
def _checked(source: str, /, *overrides: str) -> int:
    """Read, split and check the rows of a run or a ladder: where each row went, and what is wrong with them.

    Duplicates, rows that hold test text, empty or abusive answers, refusals, lengths far from the others'. Nothing is
    trained, and no model is loaded. data.clean.drop=[contaminated,...] removes train rows by cause.

    Args:
        source: A settings file (.yaml, .toml), a data file, or the first key=value.
        overrides: Settings as key=value; they win over the file.
    """
    given = read_settings(source, overrides)

    from rung.run.checking import checked

    for line in checked(given):
        console.print_result(line)
    return 0


@data.command(name="show")
def _show(
    source: str,
    /,
    *overrides: str,
    rows: Annotated[int, Parameter(alias="-n")] = 3,
    split: str = "train",
) -> int:
    """Show the first rows of a run token by token, as the model will see them.

    Supervised tokens, from which a run learns, stand in ⟦ ⟧ and in green on a terminal; special tokens are shown as
    they are written. A prompt is shown as the method would first ask it: with its instruction and its first shots.

    Args:
        source: A settings file (.yaml, .toml), a data file, or the first key=value.
        overrides: Settings as key=value; they win over the file.
        rows: How many rows.
        split: train, validation or test.
    """
    given = read_settings(source, overrides)

    from rung.config.validation import build
    from rung.run import RunConfig
    from rung.run.showing import shown_rows

    for line in shown_rows(build(RunConfig, given), split, rows):
        console.print_shown(line)
    return 0
