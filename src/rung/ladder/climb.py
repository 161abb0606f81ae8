"""Climbs a ladder: one split, one process per rung, cheapest first, an answer whenever it stops."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rung.data.load import LoadedData
from rung.data.settings import DataConfig
from rung.data.write import write_jsonl
from rung.engine import fsio
from rung.engine.callbacks.quiet import quiet
from rung.engine.loop import Hook
from rung.errors import ArtifactError, RungError
from rung.ladder.curves import measure_curves
from rung.ladder.plan import LadderConfig, Planned, plan, seconds_of
from rung.ladder.process import Outcome, Processes
from rung.ladder.records import PlannedSeed
from rung.ladder.report import write_report
from rung.ladder.seeds import seed_folder, together
from rung.ladder.slices import check_slices
from rung.ladder.store import read_ladder
from rung.methods.union import LADDER_ORDER
from rung.run.config import RunConfig
from rung.run.identity import is_finished, replace_folder
from rung.run.prepare import read_data
from rung.run.process import Nursery
from rung.tasks.union import AnyTask

_PENDING = "not run yet: the same command goes on"

Echo = Callable[[str], None]
Watch = Callable[[int], Hook]


@dataclass(slots=True)
class Ladder:
    """A ladder under way."""

    config: LadderConfig
    folder: Path
    runs: list[Planned]
    split: Mapping[str, Any]
    task: Mapping[str, Any]
    deadline: float | None
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """By the folder of a run."""

    def write(self) -> None:
        """Write `ladder.json` as things stand."""
        body = {**self.config.model_dump(mode="json"), "task": dict(self.task)}
        fsio.write_json(
            self.folder / "ladder.json",
            {
                "config": body,
                "rungs": [self._entry(one) for one in self.runs],
                "split": dict(self.split),
                "expected_requests": self.config.expected_requests,
                "margin": self.config.margin,
            },
        )

    def rounds(self) -> list[tuple[Planned, RunConfig | None]]:
        """Every run (None = refused): each rung with its first seed, cheapest first, then each with its second, ...

        So a budget that ends it early leaves rungs that can be compared.
        """
        most = max((len(one.runs) for one in self.runs), default=0)
        later = [(one, one.runs[at]) for at in range(1, most) for one in self.runs if at < len(one.runs)]
        return [*((one, one.runs[0] if one.runs else None) for one in self.runs), *later]

    def _entry(self, one: Planned) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "name": one.name,
            "model": one.model,
            "method": one.method,
            "order": LADDER_ORDER.index(one.method) if one.method in LADDER_ORDER else len(LADDER_ORDER),
            "folder": f"runs/{one.name}",
        }
        if not one.runs:
            return {**entry, "status": "refused", "reason": one.reason}
        found = [self.outcomes.get(run.output_dir, Outcome("pending", _PENDING)) for run in one.runs]
        if not one.seeded:
            return {**entry, **asdict(found[0])}
        seeds = [
            PlannedSeed(
                seed=run.training.seed, folder=seed_folder(entry["folder"], run.training.seed), **asdict(outcome)
            )
            for run, outcome in zip(one.runs, found, strict=True)
        ]
        status, reason = together(seeds)
        return {**entry, "status": status, "reason": reason, "seeds": [seed.model_dump() for seed in seeds]}


def climb(
    config: LadderConfig,
    given: Mapping[str, Any],
    *,
    fresh: bool = False,
    echo: Echo = lambda _: None,
    watch: Watch | None = None,
    nursery: Nursery | None = None,
) -> dict[str, Any]:
    """Run a ladder and report; the same command goes on where it was stopped.

    Args:
        config: The settings.
        given: What the user wrote, kept beside the report.
        fresh: Start anew whatever was finished.
        echo: Told in sentences what is going on.
        watch: Given the steps of a rung, a hook that shows progress.
        nursery: What rungs are forked from; it is ended here. None = a process that is started with the first rung.

    Returns:
        The report, as `report.json` holds it.

    Raises:
        RungError: Whatever the user can mend before the first rung; a rung's own failure is a row of the report.
    """
    began = time.monotonic()
    folder = Path(config.output_dir)
    with Processes(nursery=nursery) as processes:
        ladder = _prepare(config, folder, began, echo)
        fsio.write_json(folder / "given.json", dict(given))
        with _reporting(ladder):
            _run_all(ladder, fresh, (processes, watch or quiet), echo)
        if config.learning_curve:
            measure_curves(ladder.folder, ladder.runs, ladder.deadline, (processes, echo))
    return write_report(read_ladder(folder), folder)


def _run_all(ladder: Ladder, fresh: bool, how: tuple[Processes, Watch], echo: Echo) -> None:
    rounds = ladder.rounds()
    for number, (one, run) in enumerate(rounds, start=1):
        seed = f", seed {run.training.seed}" if run is not None and one.seeded else ""
        echo(f"[{number}/{len(rounds)}] {one.name}{seed}")
        if run is None:
            echo(f"  refused: {one.reason}")
            continue
        ladder.outcomes[run.output_dir] = outcome = _run(ladder, run, fresh, how, echo)
        if outcome.status != "finished":
            echo(f"  {outcome.status}: {outcome.reason}")
        ladder.write()


def _make_way(runs: Sequence[Planned], echo: Echo) -> None:
    """A rung's folder holds one run, or a folder for each seed, never both: what is of the other kind is kept aside."""
    for one in runs:
        for run in one.runs[:1]:
            home = Path(run.output_dir).parent if one.seeded else Path(run.output_dir)
            of_seeds, of_one = any(home.glob("seed-*")), (home / "run.json").exists() or (home / "checkpoints").exists()
            if of_one if one.seeded else of_seeds:
                aside = replace_folder(home)
                echo(f"{one.name}: it was run {'without' if one.seeded else 'with'} `seeds` before: kept in {aside}")


@contextmanager
def _reporting(ladder: Ladder) -> Iterator[None]:
    """However it ends: what is finished is reported."""
    try:
        yield
    finally:
        ladder.write()
        write_report(read_ladder(ladder.folder), ladder.folder)


def read_rows(config: LadderConfig, echo: Echo) -> tuple[LoadedData, AnyTask, dict[str, int]]:
    """Read and split the rows of a ladder.

    Args:
        config: The settings.
        echo: Told what was found in them.

    Returns:
        The data, the task with its columns settled, and the rows of each split.

    Raises:
        RungError: They can't be used.
    """
    asked = config.task
    if asked.writes and not config.controls:
        echo(f"No controls: majority and tfidf name labels, and task={asked.name} asks for a text.")
    data = read_data(config.data, asked)
    for sentence in (*data.columns.reasons, *data.report.sentences()):
        echo(sentence)
    found = data.columns
    settled = asked.settled(found.text, found.text_pair, found.label)
    settled.resolve(found.text, found.text_pair, found.label, data.labels, tuple(data.splits.train[0].fields))
    return data, settled, {name: len(records) for name, records in data.splits.named().items()}


def _prepare(config: LadderConfig, folder: Path, began: float, echo: Echo) -> Ladder:
    """Read the data once, write the split down for all runs, and plan them."""
    data, settled, rows = read_rows(config, echo)
    check_slices(config.slices, tuple(data.splits.test[0].fields))
    runs = plan(config, write_split(folder, data), settled, rows)
    split = {
        "rows": rows,
        "ledger": data.ledger.as_dict(),
        "sentences": [*data.columns.reasons, *data.report.sentences()],
    }
    deadline = None if config.budget is None else began + seconds_of(config.budget)
    limit = "" if config.budget is None else f" Within {config.budget}."
    echo(f"{len(runs)} rungs, cheapest first: {', '.join(one.name for one in runs)}.{limit}")
    if config.seeds is not None:
        echo(f"Seeds {', '.join(map(str, config.seeds))}: each rung that depends on chance is run with each of them.")
    _make_way(runs, echo)
    ladder = Ladder(config, folder, runs, split, settled.model_dump(mode="json"), deadline)
    ladder.write()
    return ladder


def write_split(folder: Path, data: LoadedData) -> DataConfig:
    """The split as files: every run reads the same rows, and so can anyone else."""
    fsio.make_folder(folder / "data")
    paths: dict[str, Any] = {}
    for name, records in data.splits.named().items():
        path = folder / "data" / f"{name}.jsonl"
        write_jsonl(path, records)
        paths[name] = str(path)
    return DataConfig(**paths, near_duplicates=False)


def _run(ladder: Ladder, run: RunConfig, fresh: bool, how: tuple[Processes, Watch], echo: Echo) -> Outcome:
    processes, watch = how
    home = Path(run.output_dir)
    if fresh:
        replace_folder(home)
    try:
        if is_finished(run):
            echo("  finished before with these settings and rows: reused")
            return Outcome("finished")
    except ArtifactError:
        aside = replace_folder(home)
        echo(f"  its settings or rows changed since: run anew; the earlier run is kept in {aside}")
    except RungError as error:
        return Outcome("failed", str(error))
    if ladder.deadline is not None and time.monotonic() >= ladder.deadline:
        return Outcome("cut", f"not started: the budget of {ladder.config.budget} was used up")
    began = time.monotonic()
    outcome = processes.run(run, ladder.deadline, watch, echo)
    if outcome.status == "finished":
        metrics = json.loads((home / "metrics.json").read_text(encoding="utf-8"))
        main = run.task.main
        score = metrics["validation"][main.name]
        echo(f"  finished in {time.monotonic() - began:.0f} s: {main.title} {score:.3f} on validation")
    return outcome
