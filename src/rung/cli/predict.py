"""`rung predict`: a run's answers for new rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from rung.cli.console import echo
from rung.cli.rows import STREAM, check_output, read_rows, write_rows

if TYPE_CHECKING:
    from rung.data.readers import Table
    from rung.types import Prediction

predict = App(
    name="predict",
    help_epilogue="""Examples:
  rung predict out in.csv -o answers.csv
  rung predict out in.jsonl -o answers.jsonl
  cat in.csv | rung predict out - > answers.csv""",
)


@predict.default
def _predict(
    run: Path,
    data: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    output: Annotated[str, Parameter(alias="-o", allow_leading_hyphen=True)] = STREAM,
    stream_format: Annotated[Literal["csv", "jsonl"], Parameter(name="--format")] = "csv",
) -> int:
    """Predict rows: the input's columns, then the prediction, and the probability of each label or how a text ended.

    Args:
        run: The run's folder.
        data: A file with the columns the run reads; - reads stdin.
        output: A .csv or .jsonl file, replaced whole when all is done; - writes to stdout.
        stream_format: What stdout gets.
    """
    check_output(output, data)
    table = read_rows(data)

    from rung.artifact import load

    artifact = load(run)
    predictions = artifact.predict(table.records)
    columns, rows = answered(table, predictions, artifact.labels)
    write_rows(output, columns, rows, stream_format)
    echo(f"{len(rows):,} rows predicted" + (f": {output}" if output != STREAM else ""))
    if artifact.spent:
        echo(artifact.spent)
    return 0


def answered(
    table: Table, predictions: Sequence[Prediction], labels: Sequence[str]
) -> tuple[list[str], list[dict[str, Any]]]:
    """The output's columns and rows: what was read, the answer, and what more there is to say of it.

    Labels have `prediction` and a `probability_LABEL` each, texts `prediction` and `finish_reason`.

    A name that the input has already gets a `_` behind it, so that no column of the input is lost.

    Args:
        table: The rows as read.
        predictions: One per row, in the same order.
        labels: Label names in label order.
    """
    has_probabilities = any(prediction.probabilities is not None for prediction in predictions)
    endings = [getattr(prediction, "finish_reason", None) for prediction in predictions]
    wanted = ["prediction", "finish_reason", *(f"probability_{label}" for label in labels if has_probabilities)]
    answer, ending, *probabilities = _free_names(wanted, table.columns)
    are_written = any(endings)
    rows = [
        {
            **record.fields,
            answer: prediction.label,
            **({ending: why} if are_written else {}),
            **dict(zip(probabilities, prediction.probabilities or (), strict=False)),
        }
        for record, prediction, why in zip(table.records, predictions, endings, strict=True)
    ]
    return [*table.columns, answer, *([ending] if are_written else []), *probabilities], rows


def _free_names(wanted: Sequence[str], taken: Sequence[str]) -> list[str]:
    used = set(taken)
    names: list[str] = []
    for name in wanted:
        while name in used:
            name += "_"
        used.add(name)
        names.append(name)
    return names
