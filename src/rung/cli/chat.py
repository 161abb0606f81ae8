"""`rung chat`: a run's answers to lines as they are typed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from rung.cli import console
from rung.errors import DataError

if TYPE_CHECKING:
    from rung.artifact import Artifact
    from rung.types import Prediction

_SHOWN = 5
"""Labels whose probabilities are shown, the most probable first."""

chat = App(
    name="chat",
    help_epilogue="""Examples:
  rung chat out
  echo "free prize, call now" | rung chat out""",
)


@chat.default
def _chat(run: Path, /) -> int:
    """Ask a finished run, a line at a time; an empty line, or the end of the input, ends it.

    A run that reads several columns takes them in turn. Each request stands alone: the run remembers none.

    Args:
        run: The run's folder.
    """
    from rung.artifact import load

    artifact = load(run)
    columns = artifact.task.reads
    if sys.stdin.isatty():
        console.echo(f"{run}: {', '.join(columns)}? An empty line ends.")
    for fields in _requests(columns):
        (prediction,) = artifact.predict([fields])
        console.print_result(_answer(artifact, prediction))
        sys.stdout.flush()
    return 0


def _requests(columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Columns as they are typed, until an empty line or the end.

    Raises:
        DataError: The input ends, or a line is empty, within a request of several columns.
    """
    interactive = sys.stdin.isatty()
    while True:
        fields: dict[str, str] = {}
        for column in columns:
            if interactive:
                print(f"{column}> ", end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
            if not line.strip():
                if fields:
                    raise DataError(f"no {column} was given for the last request", f"Columns: {', '.join(columns)}.")
                return
            fields[column] = line.rstrip("\r\n")
        yield fields


def _answer(artifact: Artifact, prediction: Prediction) -> str:
    """The text; or the label, with the most probable labels."""
    if prediction.probabilities is None:
        return str(prediction.label)
    shares = sorted(zip(prediction.probabilities, artifact.labels, strict=True), key=lambda pair: -pair[0])
    listed = ", ".join(f"{label} {share:.1%}" for share, label in shares[:_SHOWN])
    return f"{prediction.label}  ({listed})"
