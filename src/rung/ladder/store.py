"""Reads what runs left on disk: one artifact folder, or a ladder folder of them.

Nothing but these files is read, so a run made on another machine joins a ladder by being copied into `runs/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rung.errors import ArtifactError
from rung.ladder.answers import check_answers
from rung.ladder.files import checked, json_file, json_lines
from rung.ladder.measure import LABELS, TEXTS, metric_of, task_type
from rung.ladder.records import (
    Cost,
    CurvePoint,
    HistoryRow,
    LadderFile,
    MetricsFile,
    PlannedRung,
    PlannedSeed,
    PredictionRow,
    RunFile,
    Status,
    WrittenFile,
)
from rung.ladder.seeds import together
from rung.metrics.metric import Metric

_METRICS = {LABELS: MetricsFile, TEXTS: WrittenFile}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One finished run, as its folder tells it.

    Attributes:
        folder: Where it lies.
        run: `run.json`: settings, seed, versions, data, base.
        metrics: `metrics.json`.
        history: `history.jsonl`, in step order; empty for a run that trained nothing.
        predictions: `predictions.jsonl`, the test rows in order.
        cost: `cost.json`.
    """

    folder: Path
    run: RunFile
    metrics: MetricsFile | WrittenFile
    history: tuple[HistoryRow, ...]
    predictions: tuple[PredictionRow, ...]
    cost: Cost

    @property
    def model(self) -> str:
        """The base's reference; a control has none."""
        return self.run.base.reference if self.run.base else "none"

    @property
    def rows(self) -> frozenset[tuple[str, str]]:
        """The (id, right label) pairs of the test rows: only runs that answered the same ones are compared."""
        return frozenset((row.id, row.label) for row in self.predictions)

    @property
    def metric(self) -> Metric:
        """The main metric of its task."""
        return metric_of(self.run.resolved.get("task"))

    @property
    def method(self) -> str:
        """The method's type (`lora`, `zero_shot`, `tfidf`), or `unknown`."""
        method = self.run.resolved.get("method", self.run.config.get("method"))
        if isinstance(method, Mapping):
            method = method.get("type")
        return str(method or "unknown")


@dataclass(frozen=True, slots=True)
class Rung:
    """One line of the ladder: planned, and run or not.

    Attributes:
        name: Its name, unique in the ladder.
        model: Model reference, `none` for controls.
        method: Method type.
        order: Its place in the ladder, lowest first.
        status: What became of it.
        reason: Why it did not finish; empty when it did.
        path: Its folder, relative to the ladder's where it lies inside.
        records: Its finished runs, one a seed; none unless `status` is `finished`.
        seeds: What became of each seed; none where it was run with the training seed alone.
    """

    name: str
    model: str
    method: str
    order: int
    status: Status
    reason: str
    path: str
    records: tuple[RunRecord, ...] = ()
    seeds: tuple[PlannedSeed, ...] = ()

    @property
    def record(self) -> RunRecord | None:
        """Its run; with several seeds that of the first; None unless `status` is `finished`."""
        return self.records[0] if self.records else None

    @property
    def title(self) -> str:
        """What `record` is called: the rung's name, with the seed where there are several."""
        return f"{self.name}, seed {self.records[0].run.seed}" if self.seeds and self.records else self.name


@dataclass(frozen=True, slots=True)
class Ladder:
    """A ladder folder, read.

    Attributes:
        folder: Where it lies.
        file: `ladder.json`.
        rungs: All rungs in ladder order, those that joined from elsewhere last.
        test: Test records by id (columns, `_id`, `_source`); empty when the data was not kept.
        learning_curve: Rung name to its points, fewest rows first.
    """

    folder: Path
    file: LadderFile
    rungs: tuple[Rung, ...]
    test: Mapping[str, Mapping[str, Any]]
    learning_curve: Mapping[str, Sequence[CurvePoint]] = field(default_factory=dict)

    @property
    def metric(self) -> Metric:
        """What its rungs are compared by: the main metric of its task, else that of its first finished run."""
        finished = (rung.record for rung in self.rungs if rung.record)
        first = next(finished, None)
        task = self.file.config.get("task")
        return first.metric if task is None and first is not None else metric_of(task)


def read_run(folder: Path) -> RunRecord:
    """Read and check one artifact folder.

    Raises:
        ArtifactError: A file is missing or damaged, of another format, or files contradict each other;
            the message names the file and what is wrong with it.
    """
    if not folder.is_dir():
        raise ArtifactError(f"no run folder at {folder}", "Name the folder that holds run.json.")
    head = json_file(folder / "run.json")
    stated = head.get("format") if isinstance(head, dict) else None
    if stated != 1:
        raise ArtifactError(f"{folder / 'run.json'}: format={stated!r}", "This version of rung reads format 1.")
    run = checked(folder / "run.json", RunFile, head)
    kind = task_type(run.resolved.get("task"))
    if kind not in _METRICS:
        raise ArtifactError(f"{folder} is a run of task={kind}, which no report compares", "Read its metrics.json.")
    metric_of(run.resolved.get("task"))
    history = folder / "history.jsonl"
    record = RunRecord(
        folder=folder,
        run=run,
        metrics=checked(folder / "metrics.json", _METRICS[kind], json_file(folder / "metrics.json")),
        history=tuple(json_lines(history, HistoryRow)) if history.exists() else (),
        predictions=tuple(json_lines(folder / "predictions.jsonl", PredictionRow)),
        cost=checked(folder / "cost.json", Cost, json_file(folder / "cost.json")),
    )
    check_answers(folder / "predictions.jsonl", record.predictions, record.metrics, run.data.rows.get("test"))
    return record


def read_ladder(folder: Path) -> Ladder:
    """Read a ladder folder; a damaged run becomes a failed rung with its reason, the others stand.

    Raises:
        ArtifactError: `ladder.json`, the test records or the learning curve are missing or damaged, or two
            rungs carry one name.
    """
    path = folder / "ladder.json"
    file = checked(path, LadderFile, json_file(path))
    names = [rung.name for rung in file.rungs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ArtifactError(f"{path}: two rungs are called {repeated[0]!r}", "Rung names must be unique.")
    rungs = [_planned(folder, rung) for rung in sorted(file.rungs, key=lambda rung: rung.order)]
    rungs += _joined(folder, file.rungs, start=max((rung.order for rung in file.rungs), default=-1) + 1)
    curve = folder / "learning_curve.json"
    return Ladder(folder, file, tuple(rungs), _test(folder / "data" / "test.jsonl"), _curve(curve))


def _planned(folder: Path, plan: PlannedRung) -> Rung:
    records: list[RunRecord] = []
    seeds: list[PlannedSeed] = []
    alone = PlannedSeed(seed=0, folder=plan.folder, status=plan.status, reason=plan.reason)
    for one in plan.seeds or (alone,):
        found = one
        if one.status == "finished":
            try:
                records.append(_like(records[:1], read_run(folder / one.folder)))
            except ArtifactError as error:
                found = one.model_copy(update={"status": "failed", "reason": error.what})
        seeds.append(found)
    status, reason = together(seeds) if plan.seeds else (seeds[0].status, seeds[0].reason)
    return Rung(
        name=plan.name,
        model=plan.model or "none",
        method=plan.method,
        order=plan.order,
        status=status,
        reason=reason,
        path=plan.folder,
        records=tuple(records) if status == "finished" else (),
        seeds=tuple(seeds) if plan.seeds else (),
    )


def _like(first: Sequence[RunRecord], record: RunRecord) -> RunRecord:
    """The record, if it answers the same test rows as the first of its rung: only then have they a mean."""
    if first and record.rows != first[0].rows:
        raise ArtifactError(f"{record.folder} was not scored on the test rows of {first[0].folder}", "Run it again.")
    return record


def _joined(folder: Path, planned: Sequence[PlannedRung], start: int) -> list[Rung]:
    """Finished runs that lie in `runs/` without having been planned here."""
    known = {(folder / rung.folder).resolve() for rung in planned}
    taken = {rung.name for rung in planned}
    rungs: list[Rung] = []
    for path in sorted((folder / "runs").glob("*/run.json")):
        if path.parent.resolve() in known:
            continue
        place = f"runs/{path.parent.name}"
        try:
            record = read_run(path.parent)
        except ArtifactError as error:
            rungs.append(Rung(place, "unknown", "unknown", start + len(rungs), "failed", error.what, place))
            continue
        name = record.run.name if record.run.name not in taken else place
        taken.add(name)
        rungs.append(Rung(name, record.model, record.method, start + len(rungs), "finished", "", place, (record,)))
    return rungs


def _test(path: Path) -> dict[str, Mapping[str, Any]]:
    if not path.exists():
        return {}
    records = json_lines(path, dict[str, Any])
    for line, record in enumerate(records, start=1):
        if not isinstance(record.get("_id"), str):
            raise ArtifactError(f"{path}:{line}: no `_id`", "Let `rung climb` write the data folder again.")
    return {record["_id"]: record for record in records}


def _curve(path: Path) -> dict[str, list[CurvePoint]]:
    if not path.exists():
        return {}
    curves = checked(path, dict[str, list[CurvePoint]], json_file(path))
    return {name: sorted(points, key=lambda point: point.rows) for name, points in curves.items()}
