"""A prompt method at work in a run: what it compares prompts with, what it leaves, how its choice does on test rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rung.data.split import Splits
from rung.engine import fsio
from rung.evaluate.predictor import LocalPredictor
from rung.methods.base import PromptMethod
from rung.methods.tuning import Tuning
from rung.run.journal import DurableJournal
from rung.run.judging import LEVEL, MetricJudge
from rung.tasks.base import Task
from rung.tasks.prompts import message_templates, prompt_body, text_template
from rung.types import Prompt


class Search:
    """The choice of a prompt, from the method's first look at the rows to the files it leaves.

    Args:
        folder: The run's folder.
        identity: The run's.
        task: The task.
        splits: The rows; the method is shown those of training and validation alone.
        predictor: The model to be prompted.
        choices: The machine's.
        say: Told what is going on.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        task: Task,
        splits: Splits,
        predictor: LocalPredictor,
        choices: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        self.folder = folder
        self.task = task
        self.splits = splits
        self.predictor = predictor
        self.judge = MetricJudge(task)
        journal = DurableJournal(folder / "search.jsonl", identity)
        self.earlier_seconds = journal.seconds
        self.tuning = Tuning(splits.validation, self.judge, journal, say=say)

    def fit(self, method: PromptMethod, seed: int) -> Prompt:
        """The prompt that the method chooses."""
        return method.fit(self.predictor, self.task, self.splits.train, seed, self.tuning)

    def report(self, prompt: Prompt) -> None:
        """Write what was found (`search.json`), and the prompt as other programs can use it."""
        found = self.tuning.found
        if self.tuning.contenders:
            found["test"] = self._tested()
        if found:
            body = {**found, "metric": self.judge.metric, "prompt": prompt_body(prompt)}
            fsio.write_json(self.folder / "search.json", body)
        fsio.write_text(self.folder / "prompt.txt", text_template(self.task, prompt))
        fsio.write_json(self.folder / "prompt_messages.json", message_templates(self.task, prompt))

    def _tested(self) -> dict[str, Any]:
        """The choice and what it is held against, on the test rows, with paired 95 % intervals."""
        test = self.splits.test
        lines = (self.folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
        chosen = [json.loads(line)["prediction"] for line in lines]
        others = {
            name: [one.label for one in self.predictor.predict(test, prompt)]
            for name, prompt in self.tuning.contenders.items()
        }
        against = {name: self._difference(answers, chosen) for name, answers in others.items()}
        scores = {name: self._score(answers) for name, answers in {"chosen": chosen, **others}.items()}
        return {"rows": len(test), "scores": scores, "differences": against}

    def _score(self, answers: Sequence[Any]) -> dict[str, float]:
        return dict(zip(("value", "low", "high"), self.judge.interval(self.splits.test, answers), strict=True))

    def _difference(self, other: Sequence[Any], chosen: Sequence[Any]) -> dict[str, float]:
        """How much better the chosen prompt is than another."""
        found = self.judge.differences(self.splits.test, other, [chosen])
        low, high = np.quantile(found.samples[:, 0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return {"value": float(found.observed[0]), "low": float(low), "high": float(high)}
