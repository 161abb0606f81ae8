"""`rung eval`: a run's scores on labelled rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from rung.cli import console
from rung.cli.rows import read_rows

evaluate = App(
    name="eval",
    help_epilogue="""Examples:
  rung eval out test.csv
  rung eval out test.csv --json > scores.json""",
)


@evaluate.default
def _evaluate(run: Path, data: Annotated[str, Parameter(allow_leading_hyphen=True)], /, *, json: bool = False) -> int:
    """Score a finished run on labelled rows.

    Args:
        run: The run's folder.
        data: A file with the columns the run was trained on; - reads stdin.
        json: Print the scores as JSON.
    """
    table = read_rows(data)

    from rung.artifact import load

    artifact = load(run)
    scores = artifact.evaluate(table.records)
    if json:
        console.print_json(scores)
    else:
        console.print_result(
            console.table(("metric", "value", "95 % interval"), list(_lines(scores)), right=("value",))
        )
    if artifact.spent:
        console.echo(artifact.spent)
    return 0


def _lines(scores: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """One line per number; tables such as the confusion matrix are in the JSON alone."""
    for name, score in scores.items():
        if isinstance(score, Mapping) and "value" in score:
            has_interval = "low" in score and "high" in score
            yield name, _number(score["value"]), f"{score['low']:.3f} to {score['high']:.3f}" if has_interval else ""
        elif isinstance(score, int | float):
            yield name, _number(score), ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
