"""`rung report`: the report of a ladder again, or of runs from anywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App

from rung.cli import console
from rung.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from rung.ladder.store import Ladder

report = App(
    name="report",
    help_epilogue="""Examples:
  rung report out
  rung report out --markdown > comparison.md
  rung report out/runs/lora elsewhere/full --json""",
)


@report.default
def _report(*folders: Path, json: bool = False, markdown: bool = False) -> int:
    """Compare finished runs, and name the lowest sufficient one.

    One ladder folder: its report.json and report.html are written anew. Several folders, ladders or runs that were
    tested on the same rows: they are compared, and nothing is written.

    Args:
        folders: A ladder's folder, or runs.
        json: Print the report as JSON.
        markdown: Print the table as markdown.
    """
    if not folders:
        raise ConfigError("no folder is given.", "Name a ladder's folder or several runs: rung report out.")
    if json and markdown:
        raise ConfigError("--json and --markdown: both are given.", "Choose one.")
    built = _built(folders)

    from rung.ladder import table

    if json:
        console.print_json(built)
    elif markdown:
        print(table.markdown(built), end="")
    else:
        console.print_result(table.terminal(built, console.width()))
    return 0


def _built(folders: tuple[Path, ...]) -> dict[str, Any]:
    from rung.ladder.report import report_on, write_report
    from rung.ladder.store import read_ladder

    if len(folders) == 1 and (folders[0] / "ladder.json").exists():
        built = write_report(read_ladder(folders[0]), folders[0])
        console.echo(f"Report: {folders[0] / 'report.html'}")
        return built
    return report_on(_gathered(folders))


def _gathered(folders: tuple[Path, ...]) -> Ladder:
    """Runs from several folders as one ladder, lowest method first, under names that tell them apart."""
    from rung.ladder.records import LadderFile
    from rung.ladder.store import Ladder, Rung, read_ladder, read_run
    from rung.methods.union import LADDER_ORDER

    found: list[Rung] = []
    for folder in {folder.resolve(): folder for folder in folders}.values():
        if (folder / "ladder.json").exists():
            found += read_ladder(folder).rungs
        elif (folder / "run.json").exists():
            run = read_run(folder)
            found.append(Rung(run.run.name, run.model, run.method, 0, "finished", "", str(folder), (run,)))
        else:
            raise ArtifactError(f"{folder}: no run.json and no ladder.json.", "Name the folder of a run or a ladder.")
    places = {method: place for place, method in enumerate(LADDER_ORDER)}
    found.sort(key=lambda rung: places.get(rung.method, len(places)))
    names = [rung.name for rung in found]
    rungs = tuple(
        replace(rung, order=order, name=rung.name if names.count(rung.name) == 1 else f"{rung.name} ({rung.path})")
        for order, rung in enumerate(found)
    )
    return Ladder(folders[0], LadderFile(), rungs, test={})
