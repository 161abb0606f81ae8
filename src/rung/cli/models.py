"""`rung models`: the models that need no hub, and where they lie."""

from __future__ import annotations

from cyclopts import App

from rung.cli import console

models = App(
    name="models",
    help_epilogue="""Examples:
  rung models
  rung models path minilm-l6
  rung train run.yaml model=minilm-l6""",
)


@models.default
def _models() -> int:
    """List the models that Rung knows by name.

    Any hub id, folder or pypi:package works as a model too.
    """
    from rung.ladder.units import count, size
    from rung.models.locate import catalogue_rows

    entries = catalogue_rows()
    rows = [
        (
            entry["name"],
            entry["kind"],
            count(entry["parameters"]),
            size(entry["download_bytes"]),
            "yes" if entry["cached"] else "no",
            entry["licence"],
        )
        for entry in entries
    ]
    columns = ("model", "kind", "parameters", "download", "fetched", "licence")
    console.print_result(console.table(columns, rows, right=("parameters", "download")))
    for entry in entries:
        console.print_result(f"{entry['name']}: {entry['note']}.")
    return 0


@models.command(
    help_epilogue="""Examples:
  rung models path minilm-l6
  ls $(rung models path smollm2-135m-instruct)"""
)
def path(model: str, /) -> int:
    """Print a model's folder, fetched first when it is not on this machine.

    Args:
        model: A catalogue name, a hub id, a folder, or pypi:package.
    """
    from rung.models.locate import locate

    console.print_result(str(locate(model)))
    return 0
