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
    from rung.models.catalogue import CATALOGUE
    from rung.models.fetch import cached_path
    from rung.models.references import CatalogueReference

    rows = [
        (
            name,
            entry.kind,
            count(entry.parameters),
            size(entry.download_bytes),
            "yes" if cached_path(CatalogueReference(name)) else "no",
            entry.licence,
        )
        for name, entry in CATALOGUE.items()
    ]
    columns = ("model", "kind", "parameters", "download", "fetched", "licence")
    console.print_result(console.table(columns, rows, right=("parameters", "download")))
    for name, entry in CATALOGUE.items():
        console.print_result(f"{name}: {entry.note}.")
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
