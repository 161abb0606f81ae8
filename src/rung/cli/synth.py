"""`rung data synth`: instructions written by a model."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.progress import TimeElapsedColumn

from rung.cli import console
from rung.cli.progress import OneBar
from rung.cli.settings import read_settings
from rung.config.document import COMMAND_LINE, Document
from rung.config.overrides import apply_overrides

EXAMPLES = """Examples:
  rung data synth --seed-file seeds.jsonl --wanted 100 --out synth
  rung data synth synth.yaml wanted=500 budget.seconds=3600
  rung data synth documents=[book.md] model=openai:NAME@http://host:8000/v1
  rung data synth seed_file=seeds.jsonl against=[test.jsonl] budget.requests=200"""


def synth(
    source: str | None = None,
    /,
    *overrides: str,
    seed_file: str | None = None,
    model: str | None = None,
    wanted: int | None = None,
    output_dir: Annotated[str | None, Parameter(alias=("--out", "-o"))] = None,
    fresh: bool = False,
) -> int:
    """Grow a set of instructions from seed tasks, or questions and answers from your documents.

    A model proposes, fills in and is filtered; every row says where it came from. Writes instructions.jsonl, which
    task: generation reads as it is, rejected.jsonl with reasons, and report.json. The same command goes on where it was
    stopped, and asks nothing twice.

    Args:
        source: A settings file (.yaml, .toml), or the first key=value.
        overrides: Settings as key=value; they win over the file.
        seed_file: Tasks to start from: seed_file=...
        model: Who writes: model=...
        wanted: Rows to accept: wanted=...
        output_dir: The folder of the rows: output_dir=...
        fresh: Begin anew; what is in the folder is kept aside.
    """
    flags = {"seed_file": seed_file, "model": model, "wanted": wanted, "output_dir": output_dir}
    given = read_settings(source, overrides) if source else apply_overrides(Document({}, source=COMMAND_LINE), [])
    given = apply_overrides(given, [f"{name}={value}" for name, value in flags.items() if value is not None])

    from rung.config.validation import build
    from rung.synth.grow import grow
    from rung.synth.results import lines
    from rung.synth.settings import SynthConfig

    config = build(SynthConfig, given)
    with _Rounds() as bar:
        report = grow(config, fresh=fresh, say=bar.say, watch=bar.watch)
    console.print_result(console.table(("", "count"), lines(report), right=("count",)))
    console.print_result(config.output_dir)
    return 0


class _Rounds(OneBar):
    """How many rows are accepted: a bar on a terminal, a line for each round elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self._rounds = 0

    def watch(self, accepted: int, wanted: int, proposals: int) -> None:
        """After a round."""
        self._rounds += 1
        if not self._console.is_terminal:
            console.echo(f"  round {self._rounds:,}: {accepted:,} of {wanted:,} accepted, {proposals:,} proposed")
            return
        bar = self._bar
        if bar is None:
            bar = self._show(TimeElapsedColumn())
            bar.add_task("  accepted", total=wanted)
        bar.update(bar.task_ids[0], completed=accepted, description=f"  {proposals:,} proposed, accepted")
