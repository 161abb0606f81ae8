"""Reads what runs left on disk: one artifact folder, or a ladder folder of them.

Nothing but these files is read, so a run made on another machine joins a ladder by being copied into `runs/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from rung.errors import ArtifactError
from rung.ladder.records import (
    Cost,
    CurvePoint,
    HistoryRow,
    LadderFile,
    MetricsFile,
    PlannedRung,
    PredictionRow,
    RunFile,
    Status,
)

T = TypeVar("T")

_REPORTED = "classification"


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
    metrics: MetricsFile
    history: tuple[HistoryRow, ...]
    predictions: tuple[PredictionRow, ...]
    cost: Cost

    @property
    def model(self) -> str:
        """The base's reference; a control has none."""
        return self.run.base.reference if self.run.base else "none"

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
        record: The run; None unless `status` is `finished`.
    """

    name: str
    model: str
    method: str
    order: int
    status: Status
    reason: str
    path: str
    record: RunRecord | None


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


def read_run(folder: Path) -> RunRecord:
    """Read and check one artifact folder.

    Raises:
        ArtifactError: A file is missing or damaged, of another format, or files contradict each other;
            the message names the file and what is wrong with it.
    """
    if not folder.is_dir():
        raise ArtifactError(f"no run folder at {folder}", "Name the folder that holds run.json.")
    head = _json(folder / "run.json")
    stated = head.get("format") if isinstance(head, dict) else None
    if stated != 1:
        raise ArtifactError(f"{folder / 'run.json'}: format={stated!r}", "This version of rung reads format 1.")
    run = _checked(folder / "run.json", RunFile, head)
    task = run.resolved.get("task")
    kind = task.get("type", _REPORTED) if isinstance(task, dict) else _REPORTED
    if kind != _REPORTED:
        raise ArtifactError(f"{folder} is a run of task={kind}: reports compare classifiers", "Read its metrics.json.")
    history = folder / "history.jsonl"
    record = RunRecord(
        folder=folder,
        run=run,
        metrics=_checked(folder / "metrics.json", MetricsFile, _json(folder / "metrics.json")),
        history=tuple(_rows(history, HistoryRow)) if history.exists() else (),
        predictions=tuple(_rows(folder / "predictions.jsonl", PredictionRow)),
        cost=_checked(folder / "cost.json", Cost, _json(folder / "cost.json")),
    )
    _check_predictions(record)
    return record


def read_ladder(folder: Path) -> Ladder:
    """Read a ladder folder; a damaged run becomes a failed rung with its reason, the others stand.

    Raises:
        ArtifactError: `ladder.json`, the test records or the learning curve are missing or damaged, or two
            rungs carry one name.
    """
    path = folder / "ladder.json"
    file = _checked(path, LadderFile, _json(path))
    names = [rung.name for rung in file.rungs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ArtifactError(f"{path}: two rungs are called {repeated[0]!r}", "Rung names must be unique.")
    rungs = [_planned(folder, rung) for rung in sorted(file.rungs, key=lambda rung: rung.order)]
    rungs += _joined(folder, file.rungs, start=max((rung.order for rung in file.rungs), default=-1) + 1)
    curve = folder / "learning_curve.json"
    return Ladder(folder, file, tuple(rungs), _test(folder / "data" / "test.jsonl"), _curve(curve))


def _planned(folder: Path, plan: PlannedRung) -> Rung:
    record, status, reason = None, plan.status, plan.reason
    if status == "finished":
        try:
            record = read_run(folder / plan.folder)
        except ArtifactError as error:
            status, reason = "failed", error.what
    return Rung(plan.name, plan.model or "none", plan.method, plan.order, status, reason, plan.folder, record)


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
            rungs.append(Rung(place, "unknown", "unknown", start + len(rungs), "failed", error.what, place, None))
            continue
        name = record.run.name if record.run.name not in taken else place
        taken.add(name)
        rungs.append(Rung(name, record.model, record.method, start + len(rungs), "finished", "", place, record))
    return rungs


def _check_predictions(record: RunRecord) -> None:
    path = record.folder / "predictions.jsonl"
    labels = set(record.metrics.test.labels)
    width = len(record.metrics.test.labels)
    seen: set[str] = set()
    for line, row in enumerate(record.predictions, start=1):
        if row.id in seen:
            raise ArtifactError(f"{path}:{line}: id={row.id!r} appears twice", "Run the rung again.")
        seen.add(row.id)
        for key, value in (("label", row.label), ("prediction", row.prediction)):
            if value not in labels and not (key == "prediction" and value is None):
                raise ArtifactError(f"{path}:{line}: {key}={value!r} is not a label of metrics.json")
        if row.probabilities is not None and len(row.probabilities) != width:
            raise ArtifactError(f"{path}:{line}: {len(row.probabilities)} probabilities for {width} labels")
    stated = record.run.data.rows.get("test")
    if stated is not None and stated != len(record.predictions):
        raise ArtifactError(
            f"{path}: {len(record.predictions)} rows, but run.json says {stated} test rows",
            "The run was cut off while it wrote its predictions; run the rung again.",
        )


def _test(path: Path) -> dict[str, Mapping[str, Any]]:
    if not path.exists():
        return {}
    records = _rows(path, dict[str, Any])
    for line, record in enumerate(records, start=1):
        if not isinstance(record.get("_id"), str):
            raise ArtifactError(f"{path}:{line}: no `_id`", "Let `rung climb` write the data folder again.")
    return {record["_id"]: record for record in records}


def _curve(path: Path) -> dict[str, list[CurvePoint]]:
    if not path.exists():
        return {}
    curves = _checked(path, dict[str, list[CurvePoint]], _json(path))
    return {name: sorted(points, key=lambda point: point.rows) for name, points in curves.items()}


def _json(path: Path) -> Any:
    return _parsed(_text(path), str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing", "The run did not finish, or files were lost in copying.") from None
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path}: not UTF-8 at byte {error.start}", "The file is damaged.") from None
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}", "Check that it is a file you may read.") from None


def _parsed(text: str, place: str) -> Any:
    def refuse(constant: str) -> float:
        raise ArtifactError(f"{place}: {constant} is not a measurement", "Run the rung again.")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ArtifactError(f"{place}: not JSON: {error}", "The file is damaged or cut off.") from None
    except RecursionError:
        raise ArtifactError(f"{place}: nested too deeply", "The file is damaged.") from None


def _rows(path: Path, kind: type[T]) -> list[T]:
    lines = _text(path).split("\n")  # not splitlines: U+2028 may stand inside a JSON string
    adapter = TypeAdapter(kind)
    return [
        _checked(f"{path}:{number}", adapter, _parsed(line, f"{path}:{number}"))
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def _checked(place: object, kind: Any, value: Any) -> Any:
    adapter = kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{place}: {where + ': ' if where else ''}{first['msg']}", "The file is damaged.") from None
