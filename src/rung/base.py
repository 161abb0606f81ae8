"""A base model in memory once, and any number of runs on it: switched, or mixed in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from torch import nn

from rung.artifact import Artifact, as_record
from rung.compute.states import NOTHING
from rung.errors import ArtifactError, IncompatibleError
from rung.evaluate.generating import GeneratingPredictor
from rung.evaluate.mixing import Part, predict_mixed
from rung.evaluate.predictor import LocalPredictor
from rung.methods.adapted import Adapted, replace
from rung.methods.control import ControlMethod
from rung.methods.edits import Edits, recorded
from rung.methods.full import Full
from rung.methods.lora import LoraAdapted
from rung.methods.lora_linear import LoraLinear
from rung.methods.mixed import Mixed
from rung.models.devices import resolve_device, resolve_dtype
from rung.run.finished import Finished, attached, read_finished
from rung.run.memory import memory_in_words
from rung.run.prepare import settle_machine
from rung.run.score import answers_of
from rung.run.start import Opened, adapter_folder, facts_of, on_top, open_model, root_of
from rung.types import Prediction, Record

Ask = tuple["Attached", Record | Mapping[str, Any]]


class Attached(Artifact):
    """A run on a base that it shares: whatever it is asked, it is put on for that time alone.

    Its answers are the bytes that `rung.load(folder)` gives.
    """

    def __init__(self, base: Base, finished: Finished, predictor: LocalPredictor, adapted: Adapted, edits: Edits):
        super().__init__(finished, answers_of(predictor, finished.task.prompt), predictor)
        self.base = base
        self.predictor = predictor
        self.adapted = adapted
        self.edits = edits
        self.execution: Mapping[str, Any] = finished.run["execution"]

    def predict(self, rows: Sequence[Record] | Sequence[Mapping[str, Any]]) -> list[Prediction]:
        """Answers in the order of the rows; see `Artifact.predict`."""
        with self.base.wearing(self):
            return super().predict(rows)

    def evaluate(self, records: Sequence[Record]) -> dict[str, Any]:
        """Metrics with intervals on labelled rows; see `Artifact.evaluate`."""
        with self.base.wearing(self):
            return super().evaluate(records)

    def verify(self, all: bool = False) -> list[str]:
        """Replay golden rows; see `Artifact.verify`."""
        with self.base.wearing(self):
            return super().verify(all)


class Base:
    """A pretrained model that runs are put on.

    One request at a time goes through it; threads wait for each other.

    Args:
        reference: The model: catalogue name, hub id, `pypi:package`, folder, or an adapter made by PEFT.
        precision: `auto`, `bfloat16` or `float32`, as the runs have it.
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
        quantization: `none`, `int8` or `nf4`, as the runs have it.

    Raises:
        ModelError: It can't be found or loaded.
        ConfigError: The device or the precision is unknown, or not there.
    """

    def __init__(
        self, reference: str, precision: str = "auto", device: str = "auto", quantization: str = "none"
    ) -> None:
        self.reference = reference
        where = resolve_device(device)
        self.dtype = str(resolve_dtype(precision, where)).removeprefix("torch.")
        self.quantization = quantization
        with memory_in_words():
            choices = {"dtype": self.dtype, "device": where, "quantization": quantization}
            self._start = open_model(reference, choices)
        self._start.family.module.requires_grad_(False)
        self._hash = facts_of(reference).base_hash
        self._lock = RLock()
        self._worn: Attached | None = None

    def with_(self, folder: str | Path) -> Attached:
        """Put a finished run on this base; nothing of the base is copied, and its first golden rows are replayed.

        Its weights stay in memory as long as what is given back is held.

        Args:
            folder: The run's folder.

        Raises:
            ArtifactError: The run is unfinished or damaged, or was made on another base or in another precision.
            IncompatibleError: The run has a whole model of its own, or none at all.
        """
        finished = read_finished(Path(folder))
        self._require_shareable(finished)
        with self._lock, memory_in_words(), recorded(self._start.family.module) as edits:
            predictor, adapted = attached(finished, self._start_of(finished))
        made = Attached(self, finished, predictor, adapted, edits)
        made.require_answers()
        return made

    def predict(self, asked: Sequence[Ask]) -> list[Prediction]:
        """Answers to rows of many runs, in the order asked.

        Rows of LoRAs, of output layers on a frozen body and of untrained prompts go through the base together; the
        others run by run. Together, sums are taken in another order than alone: scores differ by rounding.

        Args:
            asked: Pairs of what `with_` gave and a row (a record, or a plain mapping of its columns).

        Raises:
            ArtifactError: A run was not put on this base.
            DataError: A column is missing.
        """
        records = [as_record(row, number) for number, (_, row) in enumerate(asked, start=1)]
        places: dict[Attached, list[int]] = {}
        for at, (run, _) in enumerate(asked):
            if not isinstance(run, Attached) or run.base is not self:
                raise ArtifactError(f"{run.folder} was not put on this base", "Ask what its own with_() gave.")
            run.require_columns(records[at])
            places.setdefault(run, []).append(at)
        rows = {run: [records[at] for at in numbers] for run, numbers in places.items()}
        mixing = [run for run in rows if self._mixes(run)]
        found = self._together({run: rows[run] for run in mixing}) if len(mixing) > 1 else {}
        found |= {run: run.predict(own) for run, own in rows.items() if run not in found}
        answers = {at: one for run, numbers in places.items() for at, one in zip(numbers, found[run], strict=True)}
        return [answers[at] for at in range(len(asked))]

    @contextmanager
    def wearing(self, run: Attached) -> Iterator[None]:
        """Within: the base is the run's adapted model, on as many threads as the run had."""
        with self._lock:
            if self._worn is run:
                yield
                return
            assert self._worn is None, "a run is asked while another one is"
            settle_machine(run.execution)
            self._worn = run
            try:
                with run.edits.applied():
                    yield
            finally:
                self._worn = None

    def _require_shareable(self, finished: Finished) -> None:
        method, folder = finished.config.method, finished.folder
        if isinstance(method, ControlMethod):
            raise IncompatibleError(f"{folder} is a control, which has no model", "Use rung.load(folder).")
        if isinstance(method, Full):
            raise IncompatibleError(
                f"{folder} trained every weight (method=full): there is nothing that it could share with a base",
                "Use rung.load(folder), which loads its own model.",
            )
        execution = finished.run["execution"]
        settings = {"precision": (execution["dtype"], self.dtype)}
        settings["quantization"] = (execution.get("quantization", "none"), self.quantization)
        for name, (ran, here) in settings.items():
            if ran != here:
                raise ArtifactError(
                    f"{folder} was run with {name}={ran}, and this base is loaded with {name}={here}",
                    f"Load the base with {name}={ran!r}.",
                )

    def _start_of(self, finished: Finished) -> Opened:
        """What the run was trained on: this base, or earlier runs on this base."""
        wanted, model = finished.run["base"]["hash"], finished.config.model
        if wanted == self._hash:
            return self._start
        assert model is not None
        chained = adapter_folder(model) is not None and facts_of(root_of(model)).base_hash == self._hash
        if chained and facts_of(model).base_hash == wanted:
            return on_top(model, self._start)
        raise ArtifactError(
            f"{finished.folder} was made on {model}, whose weights are not those of {self.reference}",
            "Put it on the base it was made on.",
        )

    def _mixes(self, run: Attached) -> bool:
        """Whether its rows can go through the base beside others'."""
        family, adapted = self._start.family, run.adapted
        flat = family.runs_flat(run.predictor.max_length)
        beside = isinstance(adapted, LoraAdapted) or not (run.edits.modules or run.edits.weights)
        plain = adapted.below is self._start.below and adapted.additions is NOTHING
        return flat and beside and plain and not isinstance(run.predictor, GeneratingPredictor)

    def _together(self, rows: Mapping[Attached, Sequence[Record]]) -> dict[Attached, list[Prediction]]:
        names = {run: f"{number}" for number, run in enumerate(rows) if isinstance(run.adapted, LoraAdapted)}
        layers: dict[str, dict[str, LoraLinear]] = {}
        for run, name in names.items():
            assert isinstance(run.adapted, LoraAdapted)
            for path, layer in run.adapted.layers.items():
                layers.setdefault(path, {})[name] = layer
        model = Adapted(self._start.family, below=self._start.below)
        parts = [Part(run.predictor, own, names.get(run, "")) for run, own in rows.items()]
        with self._lock, _beside(model.family.module, layers):
            settle_machine({"threads": max(int(run.execution["threads"]) for run in rows)})
            model.evaluating()
            return dict(zip(rows, predict_mixed(model, parts), strict=True))


@contextmanager
def _beside(module: nn.Module, layers: Mapping[str, Mapping[str, LoraLinear]]) -> Iterator[None]:
    """Within: the layers stand beside the maps at their paths."""
    maps = {path: module.get_submodule(path) for path in layers}
    try:
        for path, own in layers.items():
            replace(module, path, Mixed(maps[path], own))
        yield
    finally:
        for path, part in maps.items():
            replace(module, path, part)
