"""A ladder as the user writes it, and the runs it comes to, cheapest first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from rung.config.base import Config
from rung.data.settings import DataConfig
from rung.endpoints.settings import EndpointConfig
from rung.engine.settings import TrainingConfig
from rung.errors import ConfigError, IncompatibleError
from rung.ladder.measure import TEXTS
from rung.ladder.names import rung_names
from rung.ladder.seeds import depends_on_seed, seed_folder
from rung.methods.few_shot import FewShot
from rung.methods.full import Full
from rung.methods.head_only import HeadOnly
from rung.methods.lora import Lora
from rung.methods.majority import Majority
from rung.methods.tfidf import Tfidf
from rung.methods.union import LADDER_ORDER, AnyMethod
from rung.methods.zero_shot import ZeroShot
from rung.models.facts import ModelFacts
from rung.models.quantize import Quantization
from rung.run.config import RunConfig
from rung.run.validate import validate
from rung.tasks.classification import ClassificationConfig
from rung.tasks.union import AnyTask

Seed = Annotated[int, Field(ge=0)]

_UNITS = {"s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smh])")


def seconds_of(duration: str) -> float:
    """Seconds of a duration such as `90s`, `15m`, `2h`, `1h 30m`.

    Raises:
        ConfigError: It is no duration.
    """
    parts = _DURATION.findall(duration)
    if not parts or _DURATION.sub("", duration).strip():
        raise ConfigError(f"budget={duration} is no duration", "Write for example 90s, 15m or 2h.")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _duration(value: str) -> str:
    seconds_of(value)
    return value


_WRITING = {"controls": (), "models": ("smollm2-135m-instruct",), "methods": (ZeroShot(), FewShot(), Lora(), Full())}


class LadderModel(Config):
    """One model of a ladder with its own methods and settings."""

    name: str
    """The model, as in a run's `model`."""
    methods: tuple[AnyMethod, ...] | None = None
    """Its methods; None = the ladder's."""
    max_train_rows: int | None = Field(default=None, ge=1)
    """Training rows its runs get at most; None = the ladder's."""
    training: TrainingConfig | None = None
    """Its training settings; None = the ladder's."""


class LadderConfig(Config):
    """Runs over the same rows, and the rule that names the lowest sufficient one."""

    data: DataConfig
    """The user's rows; the split is made once, for all runs."""
    task: AnyTask = ClassificationConfig()
    """The user's problem; columns left out are inferred."""
    models: tuple[str | LadderModel, ...] = (
        LadderModel(name="smollm2-135m-instruct", methods=(ZeroShot(), FewShot(), Lora()), max_train_rows=400),
        LadderModel(name="minilm-l6", methods=(HeadOnly(), Lora(), Full())),
    )
    """Models, each with all `methods` or with its own."""
    methods: tuple[AnyMethod, ...] = (ZeroShot(), FewShot(), HeadOnly(), Lora(), Full())
    """Methods of the models that name none of their own."""
    controls: tuple[AnyMethod, ...] = (Majority(), Tfidf())
    """What every rung must beat to be worth its cost; none where a text is asked for."""
    training: TrainingConfig = TrainingConfig()
    """How weights are trained."""
    seeds: tuple[Seed, ...] | None = None
    """Seeds that every rung which depends on chance is run with, such as [7, 8, 9]: its quality is their mean, and its
    interval holds their spread. None = the training seed alone."""
    endpoint: EndpointConfig = EndpointConfig()
    """How endpoints among the models are asked."""
    max_length: int = Field(1024, ge=8)
    """Tokens a row may have."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Dtype of frozen weights."""
    quantization: Quantization = "none"
    """How frozen maps are stored: `none`, `int8` or `nf4`; rungs that train these are then refused."""
    device: str = "auto"
    """`cpu`, `cuda`, `mps`, or auto."""
    num_threads: int | None = Field(default=None, ge=1)
    """Threads of the CPU; None = all cores."""
    budget: Annotated[str, AfterValidator(_duration)] | None = None
    """No rung is started, and a running one is stopped, after this long: 90s, 15m, 2h; None = no limit."""
    margin: float = Field(0.02, gt=0, lt=1)
    """How much less of the main metric than the best is still as good."""
    slices: tuple[str, ...] = ()
    """Columns of the test rows by whose values quality is also told, each rung beside the zero-shot one."""
    expected_requests: int = Field(10_000, ge=0)
    """Requests the chosen rung will serve: what each costs is part of a rung's cost."""
    learning_curve: bool = True
    """Whether the two cheapest sufficient rungs that learn are also run on 1/8, 1/4 and 1/2 of their rows."""
    output_dir: str = "out"
    """The ladder's folder."""

    @model_validator(mode="before")
    @classmethod
    def _for_texts(cls, given: object) -> object:
        """Where a text is asked for, the defaults are what can write one: no controls, no encoder, no output layer."""
        if not isinstance(given, Mapping):
            return given
        task: Any = given.get("task")
        writes = task.get("type") == TEXTS if isinstance(task, Mapping) else getattr(task, "writes", False)
        return {**_WRITING, **given} if writes else given

    @field_validator("seeds", mode="before")
    @classmethod
    def _listed(cls, seeds: object) -> object:
        if seeds is not None and not (isinstance(seeds, list | tuple) and seeds):
            raise ValueError("must be a list of numbers, such as [7, 8, 9]")
        return seeds

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if seeds is not None and len(set(seeds)) < len(seeds):
            raise ValueError("each seed may stand there once")
        return seeds

    def identity(self) -> dict[str, Any]:
        """The settings without where they are written and how long they may take."""
        return self.model_dump(mode="json", exclude={"output_dir", "budget"})


@dataclass(frozen=True, slots=True)
class Planned:
    """One rung of a ladder.

    Attributes:
        name: Unique in the ladder; the name of its folder.
        runs: Its runs, one a seed; none when it was refused.
        model: Reference of the model, or None for controls.
        method: Type of the method.
        seeded: Whether each run has a folder of its own within the rung's, named by its seed.
        reason: Why it was refused.
        effort: A rough count of arithmetic: only to start the cheapest first.
    """

    name: str
    runs: tuple[RunConfig, ...]
    model: str | None
    method: str
    seeded: bool = False
    reason: str = ""
    effort: float = 0.0


def plan(ladder: LadderConfig, data: DataConfig, task: AnyTask, rows: Mapping[str, int]) -> list[Planned]:
    """The rungs of a ladder, cheapest first.

    Args:
        ladder: The settings.
        data: Where the ladder's split was written.
        task: The task with its columns settled.
        rows: Rows of each split.

    Returns:
        One entry a rung; impossible pairs with the reason in place of runs.
    """
    planned: list[Planned] = []
    pairs = _pairs(ladder)
    names = rung_names([(model, method) for model, method, _ in pairs])
    for name, (model, method, entry) in zip(names, pairs, strict=True):
        config = RunConfig(
            data=data if entry is None else _limited(data, entry),
            task=task,
            model=model,
            method=method,
            endpoint=ladder.endpoint,
            training=ladder.training if entry is None or entry.training is None else entry.training,
            max_length=ladder.max_length,
            precision=ladder.precision,
            quantization=ladder.quantization,
            device=ladder.device,
            num_threads=ladder.num_threads,
            name=name,
            output_dir=f"{ladder.output_dir}/runs/{name}",
        )
        try:
            facts = validate(config)
        except IncompatibleError as error:
            planned.append(Planned(name, (), model, method.name, reason=error.what))
            continue
        seeds = ladder.seeds if depends_on_seed(method.name) else None
        runs = (config,) if seeds is None else tuple(_with_seed(config, seed) for seed in seeds)
        effort = _effort(config, facts, rows)
        planned.append(Planned(name, runs, model, method.name, seeds is not None, effort=effort))
    return sorted(planned, key=lambda one: one.effort)


def _with_seed(config: RunConfig, seed: int) -> RunConfig:
    training = config.training.model_copy(update={"seed": seed})
    return config.model_copy(update={"training": training, "output_dir": seed_folder(config.output_dir, seed)})


def _pairs(ladder: LadderConfig) -> list[tuple[str | None, AnyMethod, LadderModel | None]]:
    pairs: list[tuple[str | None, AnyMethod, LadderModel | None]] = [
        (None, control, None) for control in ladder.controls
    ]
    for model in ladder.models:
        entry = LadderModel(name=model) if isinstance(model, str) else model
        methods = ladder.methods if entry.methods is None else entry.methods
        pairs += [(entry.name, method, entry) for method in methods]
    return pairs


def _limited(data: DataConfig, entry: LadderModel) -> DataConfig:
    if entry.max_train_rows is None:
        return data
    return data.model_copy(update={"max_train_rows": entry.max_train_rows})


def _effort(config: RunConfig, facts: ModelFacts | None, rows: Mapping[str, int]) -> float:
    """Arithmetic of a run in units of a parameter times a row, by the method's passes over the rows."""
    place = LADDER_ORDER.index(config.method.name) if config.method.name in LADDER_ORDER else len(LADDER_ORDER)
    if facts is None:
        return float(place)
    size = 12 * facts.num_layers * facts.hidden_size**2
    epochs = config.training.num_train_epochs or 3.0
    usual = 2 * epochs if config.method.kind == "weights" else 1.0
    passes = {"few_shot": 2.0, "prompt_search": 6.0, "head_only": 0.5, "full": 3 * epochs}.get(
        config.method.name, usual
    )
    train = min(rows["train"], config.data.max_train_rows or rows["train"]) if config.method.kind == "weights" else 0
    scored = rows["test"] + rows["validation"]
    return float(len(LADDER_ORDER)) + size * (
        passes * train + scored * (passes if config.method.kind == "prompt" else 1)
    )
