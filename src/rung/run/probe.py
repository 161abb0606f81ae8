"""`rung plan`'s work: what a run will take, found in a process of its own, whose peak memory is its own.

Run as `python -m rung.run.probe REQUEST.json PARENT`; says `{"planned": ...}` or `{"failed": ...}` on stdout. Nothing
here decides anything about a run: the same settings give the same run on a slow day.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rung.config.hashing import config_hash
from rung.data.load import LoadedData
from rung.errors import OutOfMemoryError, RungError
from rung.evaluate.forgetting import measure
from rung.evaluate.generating import predictor_for
from rung.evaluate.predictor import LocalPredictor
from rung.methods.adapted import Adapted
from rung.methods.base import PromptMethod, WeightMethod
from rung.methods.prompt_search.method import PromptSearch
from rung.models.facts import ModelFacts
from rung.run.compiling import compiles
from rung.run.config import RunConfig, objective_for
from rung.run.endpoint import plan_endpoint
from rung.run.expected import settle_memory, write_plan
from rung.run.forecast import Forecast, scorings, source_of
from rung.run.identity import identity
from rung.run.memory import memory_in_words
from rung.run.memory_model import Load, memory_of, require_room_for_weights
from rung.run.nursery import die_with, speak
from rung.run.prepare import adapt, execution, prepare_data, settle_machine
from rung.run.process import Nursery, Own, Process
from rung.run.record import peak_memory
from rung.run.score import answers_of
from rung.run.selection import selection
from rung.run.start import open_model
from rung.run.timing import Training, answering_seconds, training_seconds
from rung.run.train import settled
from rung.run.validate import validate
from rung.tasks.base import Task
from rung.types import Prompt

_MODULE = "rung.run.probe"


def plan_in_process(config: RunConfig, timed: bool, nursery: Nursery | None = None) -> dict[str, Any]:
    """Plan a run in a process of its own; a control, which takes next to nothing, in this one.

    Args:
        config: The run.
        timed: Whether steps are made and timed; else only shapes and lengths are looked at.
        nursery: What the process is forked from; None = it imports for itself.

    Returns:
        What `plan_run` gave.

    Raises:
        RungError: Whatever the user can mend.
    """
    if config.method.kind == "control":
        return plan_run(config, timed)
    with tempfile.TemporaryDirectory(prefix="rung-plan-") as folder:
        asked, log = Path(folder) / "asked.json", Path(folder) / "log"
        asked.write_text(json.dumps({"config": config.model_dump(mode="json"), "timed": timed}), encoding="utf-8")
        log.touch()  # a nursery that is gone writes none
        if nursery is None:
            process: Process = Own(_MODULE, [str(asked)], log)
        else:
            nursery.start(_MODULE, [str(asked)], log)
            process = nursery
        try:
            answer: dict[str, Any] = {}
            while (message := process.message(None)) is not None:
                answer |= message
            return _answered(answer, process.wait(), log)
        finally:
            process.end()


def _answered(answer: dict[str, Any], code: int, log: Path) -> dict[str, Any]:
    if code < 0:
        raise OutOfMemoryError(
            f"the probe was ended by signal {-code}, most likely for want of memory",
            "--no-probe tells what the run needs; a smaller model or batch needs less.",
        )
    if "failed" in answer:
        error = RungError(*answer["failed"])
        error.exit_code = code
        raise error
    if code != 0:
        raise RuntimeError(f"the probe failed: {log.read_text(encoding='utf-8', errors='replace').strip()}")
    return answer["planned"]


@dataclass(slots=True)
class _Planning:
    """A plan under way."""

    config: RunConfig
    facts: ModelFacts
    choices: Mapping[str, Any]
    data: LoadedData
    task: Task
    timed: bool
    seconds: dict[str, float]
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Note the seconds within."""
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began


@memory_in_words()
def plan_run(config: RunConfig, timed: bool) -> dict[str, Any]:
    """What a run will take; the plan is kept in the run's folder, for `run.json` to take up.

    Args:
        config: The run.
        timed: Whether steps are made and timed.

    Returns:
        `name`, `model`, `method`, `rows` of each split, `forecast` (of training), `memory_peak_bytes`,
        `measured_peak_bytes`, `seconds` by what takes them with their `total` (and `step`, which is part of
        `training`), `notes`. What does not apply is None.
    """
    facts = validate(config)
    choices = execution(config, facts)
    settle_machine(choices)
    began = time.perf_counter()
    data, task = prepare_data(config)
    seconds = {"data": time.perf_counter() - began}
    choices["torch_compile"] = compiles(config, facts, choices, len(data.splits.train))
    planned: dict[str, Any] = {
        "name": config.title,
        "model": None if facts is None else config.model,
        "method": config.method.name,
        "rows": {name: len(records) for name, records in data.splits.named().items()},
        "forecast": None,
        "memory_peak_bytes": None,
        "measured_peak_bytes": None,
        "seconds": None,
        "notes": [],
    }
    if facts is None:
        return planned
    if facts.kind == "endpoint":
        return planned | {"notes": plan_endpoint(config, data, task)}
    planning = _Planning(config, facts, choices, data, task, timed, seconds)
    planned |= _plan_model(planning)
    planned["notes"] = planning.notes
    if timed:
        planned["measured_peak_bytes"] = peak_memory()
        total = sum(value for name, value in seconds.items() if name != "step")
        planned["seconds"] = {**seconds, "total": total}
    write_plan(Path(config.output_dir), config_hash(identity(config, facts, choices, data.hashes)), planned)
    return planned


def _plan_model(planning: _Planning) -> dict[str, Any]:
    config, facts, task = planning.config, planning.facts, planning.task
    assert config.model is not None and facts.path is not None
    require_room_for_weights(facts.path, planning.choices)
    with planning.clock("loading"):
        weights = config.method if isinstance(config.method, WeightMethod) else None
        opened = open_model(config.model, planning.choices, weights is not None and weights.trains_model)
    objective = objective_for(config, facts.kind)
    adapted = adapt(weights, opened, task, objective, config.training.seed)
    predictor = predictor_for(adapted, opened.loaded.tokenizer, task, objective, int(planning.choices["max_length"]))
    adapted.evaluating()
    if weights is not None:
        return _plan_training(planning, adapted, predictor, weights)
    if planning.timed:
        assert isinstance(config.method, PromptMethod)
        with planning.clock("search"):
            prompt = config.method.fit(predictor, task, planning.data.splits.train, config.training.seed)
        _time_answers(planning, predictor, prompt, 1)
        if isinstance(config.method, PromptSearch):
            _foretell_search(planning, config.method)
    return {"memory_peak_bytes": memory_of(adapted, Load(), facts.path).peak}


def _foretell_search(planning: _Planning, method: PromptSearch) -> None:
    """Seconds of a search by its budget: the probe asked the task's own prompt, and looked for no other."""
    row = planning.seconds["validation"] / len(planning.data.splits.validation)
    budget, arms = method.budget, 1 + method.baseline
    limits = [budget.seconds] if budget.seconds else []
    limits += [budget.evaluations * row] if budget.evaluations else []
    if limits:
        planning.seconds["search"] += arms * min(limits)
        planning.notes.append(
            "the search is foretold by its budget, at the pace of the task's own prompt, writing left out"
        )
    else:
        planning.notes.append("the search ends with its tokens: its seconds are not foretold")


def _plan_training(
    planning: _Planning, adapted: Adapted, predictor: LocalPredictor, method: WeightMethod
) -> dict[str, Any]:
    task, model = planning.task, planning.facts.path
    assert model is not None and predictor.objective is not None
    with planning.clock("tokenising"):
        rows = predictor.rows(planning.data.splits.train, task.prompt)
    settings, peak = settled(planning.config.training, method, adapted.family.kind)
    settings = settings.model_copy(update={"torch_compile": planning.choices["torch_compile"]})
    found: Forecast = settle_memory(adapted, method, rows, settings, model, planning.notes.append)
    if planning.timed:
        training = Training(adapted, method, predictor.objective, rows, settings, peak)
        place = next(parent for parent in Path(planning.config.output_dir).absolute().parents if parent.exists())
        planning.seconds |= training_seconds(training, found, place)
        times = scorings(settings, found.steps, source_of(rows, settings).steps_per_epoch)
        written = min(selection(planning.config).written, len(planning.data.splits.validation))
        # The rows learned from are scored once more in the end, as many as there are to validate on.
        _time_answers(planning, predictor, task.prompt, max(times, 1) + 1, written)
        with planning.clock("forgetting"):
            for _ in range(2):
                measure(adapted, predictor.tokenizer)
    return {"forecast": found.as_dict(), "memory_peak_bytes": found.memory.peak}


def _time_answers(planning: _Planning, predictor: LocalPredictor, prompt: Prompt, times: int, written: int = 0) -> None:
    answers = answers_of(predictor, prompt)
    planning.seconds |= answering_seconds(answers, planning.task, planning.data.splits, times, written)


def main(path: str, parent: int) -> int:
    """Answer the request in a file.

    Args:
        path: JSON of a run's settings, and whether its steps are timed.
        parent: The process that started this one.

    Returns:
        0, or the error's exit code.
    """
    die_with(parent)
    request = json.loads(Path(path).read_text(encoding="utf-8"))
    try:
        speak(planned=plan_run(RunConfig.model_validate(request["config"]), request["timed"]))
    except RungError as error:
        speak(failed=[error.what, error.todo])
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
