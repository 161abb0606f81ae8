"""A prompt method at work in a run: what it compares prompts with, what it leaves, how its choice does on test rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from rung.data.split import Splits
from rung.endpoints.client import Client
from rung.endpoints.predictor import EndpointPredictor
from rung.endpoints.settings import EndpointConfig
from rung.endpoints.writer import EndpointWriter
from rung.engine import fsio
from rung.errors import ConfigError
from rung.evaluate.flips import TokenFlips
from rung.evaluate.generating import Writer
from rung.evaluate.predictor import LocalPredictor
from rung.evaluate.writing import LocalWriter
from rung.methods.base import PromptMethod, Scorer
from rung.methods.tuning import Tuning
from rung.methods.tuning import Writer as Writes
from rung.models.references import EndpointReference, parse
from rung.run.journal import DurableJournal
from rung.run.judging import MetricJudge
from rung.run.prepare import untouched
from rung.run.start import facts_of, open_model
from rung.tasks.base import Task
from rung.tasks.prompts import message_templates, prompt_body, text_template
from rung.types import Prompt

WRITERS_JOURNAL = "writers.jsonl"
"""Every try of every request to an endpoint that writes prompts, in the run's folder."""


class Search:
    """The choice of a prompt, from the method's first look at the rows to the files it leaves.

    Args:
        place: The run's folder and its identity.
        task: The task.
        splits: The rows; the method is shown those of training and validation alone.
        predictor: Answers under a prompt; a local one also writes and gives gradients.
        choices: The machine's.
        endpoint: How an endpoint that writes prompts is asked.
        say: Told what is going on.
    """

    def __init__(
        self,
        place: tuple[Path, str],
        task: Task,
        splits: Splits,
        predictor: Scorer,
        choices: Mapping[str, Any],
        endpoint: EndpointConfig,
        say: Callable[[str], None],
    ) -> None:
        self.folder, identity = place
        self.task = task
        self.splits = splits
        self.predictor = predictor
        self.judge = MetricJudge(task)
        self.choices = choices
        self.endpoint = endpoint
        self._writers: dict[str, Writes] = {}
        self._clients: list[Client] = []
        self._rivals: Callable[[], Mapping[str, Prompt]] = dict
        self._journal = journal = DurableJournal(self.folder / "search.jsonl", identity)
        local = isinstance(predictor, LocalPredictor)
        flips = TokenFlips(predictor, cast("Writer", predictor.model)) if local else None
        self.tuning = Tuning(splits.validation, self.judge, journal, self._writer, flips, say)

    @property
    def earlier_seconds(self) -> float:
        """Seconds of what was asked for and had been computed before the run was stopped."""
        return self._journal.replayed

    def fit(self, method: PromptMethod, seed: int) -> Prompt:
        """The prompt that the method chooses."""
        self._rivals = partial(method.rivals, self.predictor, self.task, self.splits.train, seed, self.tuning)
        return method.fit(self.predictor, self.task, self.splits.train, seed, self.tuning)

    def close(self) -> None:
        """Say what endpoints that wrote were asked, and close the connections to them."""
        for client in self._clients:
            self.tuning.say(f"{client.reference}: {client.spent}")
            client.close()

    def report(self, prompt: Prompt) -> None:
        """Write what was found (`search.json`), and the prompt as other programs can use it."""
        found = self.tuning.found
        evaluated = bool(found)
        rivals = self._rivals()
        found["metric"] = self.judge.metric
        if rivals:
            found["test"] = self._tested(rivals)
            found["sentences"] = sentences(found)
            for sentence in found["sentences"]:
                self.tuning.say(sentence)
        if evaluated:
            body = {**found, "prompt": prompt_body(prompt)}
            fsio.write_json(self.folder / "search.json", body)
        fsio.write_text(self.folder / "prompt.txt", text_template(self.task, prompt))
        fsio.write_json(self.folder / "prompt_messages.json", message_templates(self.task, prompt))

    def _writer(self, reference: str | None) -> Writes:
        """A model that writes: the prompted one, or another, opened when it is first asked."""
        if reference is None:
            if isinstance(self.predictor, EndpointPredictor):
                return EndpointWriter(self.predictor.client, self.predictor.way)
            if not isinstance(self.predictor, LocalPredictor):
                raise ConfigError(
                    "method.proposers: this model only scores answers, and instructions are to be written",
                    "Set model: in rewrite and reflect, or use proposers: [edit].",
                )
            model, tokenizer = self.predictor.model, self.predictor.tokenizer
            return LocalWriter(cast("Writer", model), tokenizer, self.predictor.max_length)
        if reference not in self._writers:
            self._writers[reference] = self._opened(reference)
        return self._writers[reference]

    def _opened(self, reference: str) -> Writes:
        remote = parse(reference)
        if isinstance(remote, EndpointReference):
            client = Client(remote, self.endpoint, self.folder / WRITERS_JOURNAL)
            self._clients.append(client)
            return EndpointWriter(client)
        facts = facts_of(reference)
        if facts.kind != "decoder":
            raise ConfigError(
                f"method.proposers: model={reference} is of kind {facts.kind}, and instructions are written by a "
                "decoder",
                "Name a decoder, or leave the model out.",
            )
        opened = open_model(reference, self.choices)
        return LocalWriter(untouched(opened), opened.loaded.tokenizer, facts.max_length)

    def _tested(self, rivals: Mapping[str, Prompt]) -> dict[str, Any]:
        """The choice and what it is held against, on the test rows, with paired 95 % intervals."""
        test = self.splits.test
        lines = (self.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
        chosen = [json.loads(line)["prediction"] for line in lines]
        others = {name: [one.label for one in self.predictor.predict(test, prompt)] for name, prompt in rivals.items()}
        against = {name: self._difference(answers, chosen) for name, answers in others.items()}
        scores = {name: self._score(answers) for name, answers in {"chosen": chosen, **others}.items()}
        return {"rows": len(test), "scores": scores, "differences": against}

    def _score(self, answers: Sequence[Any]) -> dict[str, float]:
        return dict(zip(("value", "low", "high"), self.judge.interval(self.splits.test, answers), strict=True))

    def _difference(self, other: Sequence[Any], chosen: Sequence[Any]) -> dict[str, float]:
        """How much better the chosen prompt is than another."""
        found = self.judge.differences(self.splits.test, other, [chosen])
        return found.estimates()[0]


def sentences(found: Mapping[str, Any]) -> list[str]:
    """What the test rows say of a search: against the task's own prompt, and against chance at equal budget."""
    test = found["test"]
    names = {"plain": "the task's own prompt"}
    if "baseline" in found:
        names["chance"] = (
            f"the best of {found['baseline']['candidates']} prompts by hand and by chance, at the same "
            f"{found['spent']['evaluations']:,} evaluations"
        )
    return [
        f"Prompt search against {names[name]}, {found['metric']} on {test['rows']:,} test rows: {_verdict(gap)}, "
        f"{gap['value']:+.3f} (95 % interval {gap['low']:+.3f} to {gap['high']:+.3f})."
        for name, gap in test["differences"].items()
    ]


def _verdict(gap: Mapping[str, float]) -> str:
    if gap["low"] > 0:
        return "better"
    return "worse" if gap["high"] < 0 else "no difference is shown"
