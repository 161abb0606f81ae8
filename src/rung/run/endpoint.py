"""Runs on a model behind an API: prompted, scored, planned, loaded again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rung.data.load import LoadedData
from rung.endpoints.client import Client
from rung.endpoints.predictor import EndpointPredictor
from rung.endpoints.ways import Way
from rung.errors import ModelError
from rung.methods.base import PromptMethod
from rung.methods.calibration import FILLERS
from rung.methods.few_shot import FewShot
from rung.methods.zero_shot import ZeroShot
from rung.models.references import EndpointReference, parse
from rung.run import record
from rung.run.config import RunConfig
from rung.run.prompting import Search
from rung.run.reporting import Run, report
from rung.run.score import answers_of
from rung.tasks.base import Task
from rung.types import Record

JOURNAL = "requests.jsonl"
"""Every try of every request of a run, in its folder: the ledger goes on where a run was killed."""


def open_endpoint(
    config: RunConfig,
    task: Task,
    found: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda _: None,
    journal: Path | None = None,
    run: str = "",
) -> EndpointPredictor:
    """The predictor of a run on an endpoint; sends nothing.

    Args:
        config: The run.
        task: Its task.
        found: What `run.json` says of the base: how it was asked is how it is asked again. None finds out.
        say: Told in sentences.
        journal: Where requests are noted; None notes them nowhere.
        run: Whose they are.

    Raises:
        ModelError: The model is no endpoint.
    """
    reference = parse(config.model or "")
    if not isinstance(reference, EndpointReference):
        raise ModelError(f"model={config.model!r} is not an endpoint.", "Write openai:model@http://host:port/v1.")
    way = None if found is None else Way(**found["way"])
    client = Client(reference, config.endpoint, journal, run)
    return EndpointPredictor(client, task, config.max_length, way, say)


def run_endpoint(run: Run, method: PromptMethod, key: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Choose the prompt, score the rows, write the findings.

    Args:
        run: The run.
        method: Chooses the prompt.
        key: The run's identity.
        say: Told in sentences.

    Returns:
        What `run.json` says of the base.
    """
    predictor = open_endpoint(run.config, run.task, None, say, run.folder / JOURNAL, key[:16])
    place = (run.folder, key)
    search = Search(place, run.task, run.data.splits, predictor, run.choices, run.config.endpoint, say)
    try:
        with run.timed("search_seconds"):
            prompt = search.fit(method, run.config.training.seed)
        run.cost.search_seconds += search.earlier_seconds
        run.cost.artifact_bytes = record.write_prompt(run.folder, prompt)
        report(run, answers_of(predictor, prompt), lambda: None)
        search.report(prompt)
    finally:
        search.close()
        predictor.client.close()
    say(predictor.client.spent)
    assert predictor.way is not None
    return {
        "reference": run.config.model,
        "hash": "",
        "kind": "endpoint",
        "model_type": "endpoint",
        "parameters": None,
        "way": asdict(predictor.way),
        "answered_by": sorted(predictor.answered_by),
    }


class _Counting:
    """Counts what a prompt would take, for a method that only needs that."""

    def __init__(self, predictor: EndpointPredictor) -> None:
        self.max_length = predictor.max_length
        self.count_tokens = predictor.count_tokens

    def predict(self, records: Any, prompt: Any) -> Any:
        """Not asked for: the method plans without calibration."""
        raise NotImplementedError("a plan sends no request")


def plan_endpoint(config: RunConfig, data: LoadedData, task: Task) -> list[str]:
    """What a run on an endpoint will take, in sentences; sends nothing.

    Args:
        config: The run.
        data: Its rows.
        task: Its task.
    """
    predictor = open_endpoint(config, task)
    predictor.client.close()
    method, train = config.method, data.splits.train
    if not isinstance(method, ZeroShot | FewShot):
        return [f"method={method.name} sends as many requests as its search takes: that is not foretold."]
    bare = method.model_copy(update={"calibration": False})
    prompt = bare.fit(_Counting(predictor), task, train, config.training.seed)
    fillers: list[Record] = [task.content_free(train[0], one) for one in FILLERS] if task.labels else []
    asked = [*(fillers if method.calibration else ()), *data.splits.validation, *data.splits.test]
    tokens = sum(predictor.count_tokens(one, prompt) for one in asked)
    prices = config.endpoint.prices
    money = "" if prices is None else f", about {prices.of(tokens, 0):.4g} by endpoint.prices for reading them"
    found = [
        f"about {len(asked):,} requests with {tokens:,} tokens{money}: tokens are estimated, a fourth of the bytes; "
        "answers in the cache are not asked for again.",
    ]
    if task.labels:
        found.append(f"where labels are scored by echo, there are {len(task.labels)} requests a row.")
    return found
