"""The files of a run and of a ladder, typed: what is read is checked against these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Status = Literal["finished", "failed", "cut", "refused", "running", "pending"]

Label = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]
"""A label's name; files made from integer labels hold numbers."""


class Stored(BaseModel):
    """A file's content. Keys we don't know are left alone, so that newer runs stay readable."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Estimate(Stored):
    """A measured value and its 95 % interval."""

    value: float
    low: float
    high: float


def _gathered(given: Any) -> Any:
    """A flat file's estimates under `scores`: their names are the metrics', which differ from task to task."""
    if not isinstance(given, Mapping) or "scores" in given:
        return given  # pyright: ignore[reportUnknownVariableType]
    flat = cast("Mapping[str, object]", given)
    scores: dict[str, object] = {name: value for name, value in flat.items() if isinstance(value, Mapping)}
    return {**flat, "scores": scores}


class Scored(Stored):
    """Metrics by their names; in the file they stand side by side with the rest."""

    scores: Mapping[str, Estimate]

    _gather = model_validator(mode="before")(_gathered)


class CurvePoint(Scored):
    """Quality after training on the first `rows` rows: a point of `learning_curve.json`."""

    rows: int = Field(ge=1)


class ClassMetrics(Stored):
    """One label's scores on the test rows."""

    label: Label
    precision: float
    recall: float
    f1: float
    support: int = Field(ge=0)


class TestMetrics(Stored):
    """Scores on the test rows. `confusion[truth][answer]` counts rows, in the order of `labels`."""

    __test__ = False  # a record, whatever its name looks like to pytest

    macro_f1: Estimate
    accuracy: Estimate | None = None
    mcc: Estimate | None = None
    expected_calibration_error: float | None = None
    per_class: tuple[ClassMetrics, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    labels: tuple[Label, ...]


class WrittenMetrics(Scored):
    """Scores of written answers on the test rows."""

    rows: int = Field(ge=1)


class Forgetting(Stored):
    """What the root model lost: `loss` on general text (nats, up is worse), or a linear `probe` (share, down is)."""

    kind: Literal["loss", "probe"]
    before: float
    after: float
    change: float


class Metrics(Stored):
    """What `metrics.json` holds whatever the task."""

    train: Mapping[str, Any] | None = None
    validation: Mapping[str, Any] = Field(default_factory=dict)
    forgetting: Forgetting | None = None


class MetricsFile(Metrics):
    """`metrics.json` of a run that chooses labels."""

    test: TestMetrics
    uncalibrated: TestMetrics | None = None


class WrittenFile(Metrics):
    """`metrics.json` of a run that writes answers."""

    test: WrittenMetrics


class HistoryRow(Stored):
    """One line of `history.jsonl`."""

    step: int = Field(ge=0)
    epoch: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    seconds: float | None = None
    validation: Mapping[str, Any] | None = None


class PredictionRow(Stored):
    """One line of `predictions.jsonl`; `prediction` is None where no answer could be read.

    `sums` is what a written answer adds to the sums that each metric is made of.
    """

    id: str
    label: Label
    prediction: Label | None
    probabilities: tuple[float, ...] | None = None
    scores: tuple[float, ...] | None = None
    sums: Mapping[str, tuple[float, ...]] = Field(default_factory=dict)


class Charged(Stored):
    """What an endpoint charged, where there were prices: for the run, and for a row's requests."""

    money: float | None = Field(default=None, ge=0)
    money_per_row: float | None = Field(default=None, ge=0)


class Cost(Stored):
    """`cost.json`: what the run took, and what each request will take. None = not measured."""

    train_seconds: float | None = Field(default=None, ge=0)
    seconds_per_step: float | None = Field(default=None, ge=0)
    load_seconds: float | None = Field(default=None, ge=0)
    tokenize_seconds: float | None = Field(default=None, ge=0)
    eval_seconds: float | None = Field(default=None, ge=0)
    search_seconds: float | None = Field(default=None, ge=0)
    peak_memory_bytes: int | None = Field(default=None, ge=0)
    optimizer_bytes: int | None = Field(default=None, ge=0)
    trainable_parameters: int | None = Field(default=None, ge=0)
    artifact_bytes: int | None = Field(default=None, ge=0)
    flops: float | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    seconds_per_request: float | None = Field(default=None, ge=0)
    tokens_per_request: float | None = Field(default=None, ge=0)
    endpoint: Charged | None = None


class Base(Stored):
    """The pretrained model a run started from."""

    reference: str
    hash: str | None = None
    kind: str | None = None
    model_type: str | None = None
    parameters: int | None = None


class RunData(Stored):
    """The data a run saw."""

    hashes: Mapping[str, str] = Field(default_factory=dict)
    rows: Mapping[str, int] = Field(default_factory=dict)
    labels: tuple[Label, ...] = ()


class RunFile(Stored):
    """`run.json`."""

    format: Literal[1]
    name: str
    config: Mapping[str, Any] = Field(default_factory=dict)
    resolved: Mapping[str, Any] = Field(default_factory=dict)
    execution: Mapping[str, Any] = Field(default_factory=dict)
    config_hash: str | None = None
    seed: int | None = None
    versions: Mapping[str, Any] = Field(default_factory=dict)
    hardware: Mapping[str, Any] = Field(default_factory=dict)
    data: RunData = RunData()
    base: Base | None = None
    status: str = "finished"
    created: str | None = None


class PlannedSeed(Stored):
    """One seed's run of a rung in `ladder.json`."""

    seed: int
    folder: str
    status: Status = "pending"
    reason: str = ""


class PlannedRung(Stored):
    """One planned rung of `ladder.json`; with several seeds its runs are `seeds`."""

    name: str
    model: str | None = None
    method: str
    order: int
    folder: str
    status: Status = "pending"
    reason: str = ""
    seeds: tuple[PlannedSeed, ...] = ()


class LadderFile(Stored):
    """`ladder.json`.

    `split` holds `rows` (split to count), `ledger` (bucket to count) and `sentences` (what the data check said).
    """

    config: Mapping[str, Any] = Field(default_factory=dict)
    rungs: tuple[PlannedRung, ...] = ()
    split: Mapping[str, Any] = Field(default_factory=dict)
    expected_requests: float = Field(default=10_000, ge=0)
    margin: float = Field(default=0.02, gt=0)
