"""Two runs' written answers side by side, before a judge: a model on this machine, or one behind an API.

A judge prefers a place: many models choose the first answer whatever it says (Zheng et al. 2023,
https://arxiv.org/abs/2306.05685). So each pair is shown in both orders, and an answer wins where the judge chooses it
in both; anything else is a tie. How often the judge changed its mind is told beside the result: a judge that mostly
does has nothing to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rung.config.base import Config
from rung.data.content import as_text
from rung.data.settings import DataConfig
from rung.endpoints.settings import EndpointConfig
from rung.errors import ArtifactError, IncompatibleError, ModelError
from rung.evaluate.intervals import sums_interval
from rung.evaluate.predictor import LocalPredictor
from rung.methods.zero_shot import ZeroShot
from rung.metrics.metric import scores
from rung.models.references import EndpointReference, parse
from rung.run.config import RunConfig
from rung.run.endpoint import open_endpoint
from rung.run.finished import Finished, read_finished
from rung.run.prepare import execution, prepare_data, settle_machine, untouched
from rung.run.start import facts_of, open_model
from rung.tasks.classification import Classification, ClassificationConfig
from rung.types import Prediction, Record

FIRST, SECOND = "A", "B"
_READS = 4096
"""Tokens of a question with both answers, at most; a model that reads fewer is given fewer."""
_COLUMNS = ("asked", "a", "b", "reference", "choice")
_SHOWN = (
    "Question:\n{{ asked }}\n\n{% if reference %}A reference answer:\n{{ reference }}\n\n{% endif %}"
    "Answer A:\n{{ a }}\n\nAnswer B:\n{{ b }}"
)


class JudgeConfig(Config):
    """How a judge is asked."""

    criteria: str = (
        "Two assistants were asked the same. Which answer is better: more correct, more helpful, better written?"
    )
    """What it is told to judge by."""
    shows_reference: bool = True
    """Whether it is shown the right answer."""
    endpoint: EndpointConfig = EndpointConfig()
    """How an endpoint is asked."""


Ask = Callable[[Sequence[Record]], Sequence[Prediction]]
_TIE = 0.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge said of one row.

    Attributes:
        id: The row.
        in_order: Which run it chose (`one`, `other`) with the first run's text shown first; None = it named neither.
        swapped: The same with the texts in the other order.
        alike: Whether both wrote the same; then nobody was asked.
    """

    id: str
    in_order: str | None
    swapped: str | None
    alike: bool = False

    @property
    def chosen(self) -> str | None:
        """The run chosen in both orders, or None."""
        return self.in_order if self.in_order == self.swapped else None

    @property
    def score(self) -> float:
        """Of the first run: 1 it wins, 0 it loses, 0.5 a tie."""
        return _TIE if self.chosen is None else float(self.chosen == "one")


def pairs_of(one: Path, other: Path) -> list[dict[str, str]]:
    """What both runs wrote to the test rows that they share the whole of.

    Returns:
        Per row `id`, `asked`, `reference`, `one` and `other`.

    Raises:
        ArtifactError: A run is unfinished or damaged, or they were asked other rows.
        IncompatibleError: A run's task is not generation.
    """
    runs = [read_finished(folder) for folder in (one, other)]
    for run in runs:
        if not run.config.task.writes:
            raise IncompatibleError(
                f"{run.folder} is a run of task={run.config.task.name}, whose answers are labels",
                "A judge reads written answers: give runs of task=generation.",
            )
    answers = [_answers(run) for run in runs]
    if set(answers[0]) != set(answers[1]):
        raise ArtifactError(
            f"{one} and {other} did not answer the same test rows", "Give two runs of one ladder, or of one test file."
        )
    data, task = prepare_data(runs[0].config)
    found = []
    for record in data.splits.test:
        if record.id not in answers[0]:
            raise ArtifactError(f"the test rows of {one} are not those it answered", "Put its data back as it was.")
        said = [as_text(given[record.id]) for given in answers]
        asked, reference = task.asked(record.fields), as_text(task.truth(record))
        found.append({"id": record.id, "asked": asked, "reference": reference, "one": said[0], "other": said[1]})
    return found


def judged(pairs: Sequence[Mapping[str, str]], ask: Ask, shows_reference: bool = True) -> list[Verdict]:
    """The verdict on each pair.

    Args:
        pairs: See `pairs_of`.
        ask: Gives label `A` or `B` for records with the columns of the judge's task.
        shows_reference: Whether the judge is shown the right answer.
    """
    differ = [pair for pair in pairs if pair["one"].strip() != pair["other"].strip()]
    records = [_record(pair, swapped, shows_reference) for pair in differ for swapped in (False, True)]
    labels = [str(one.label) for one in ask(records)] if records else []
    in_order = [{FIRST: "one", SECOND: "other"}.get(label) for label in labels[::2]]
    swapped = [{FIRST: "other", SECOND: "one"}.get(label) for label in labels[1::2]]
    asked = zip(differ, in_order, swapped, strict=True)
    verdicts = {pair["id"]: Verdict(pair["id"], first, second) for pair, first, second in asked}
    return [verdicts.get(pair["id"], Verdict(pair["id"], None, None, alike=True)) for pair in pairs]


def summary(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """What the verdicts come to.

    Returns:
        `rows`, `wins`, `losses`, `ties` of the first run (`alike` among the ties); `win_rate`, ties as halves, with its
        95 % interval over rows; `first_place`, the share of all answers that chose the text shown first; and
        `consistent`, the share of judged pairs where both orders gave the same run.
    """
    found = np.asarray([one.score for one in verdicts], dtype=np.float64)
    asked = [one for one in verdicts if not one.alike]
    low, high = sums_interval(scores(found))
    firsts = [place for one in asked for place in (one.in_order == "one", one.swapped == "other")]
    return {
        "rows": len(found),
        "wins": int((found == 1).sum()),
        "losses": int((found == 0).sum()),
        "ties": int((found == _TIE).sum()),
        "alike": len(verdicts) - len(asked),
        "win_rate": {"value": float(found.mean()), "low": low, "high": high},
        "first_place": float(np.mean(firsts)) if asked else None,
        "consistent": float(np.mean([one.chosen is not None for one in asked])) if asked else None,
    }


def ask_of(model: str, judge: JudgeConfig, say: Callable[[str], None] = lambda _: None) -> Ask:
    """A judge.

    Args:
        model: A decoder on this machine, or `openai:MODEL@URL`.
        judge: How it is asked.
        say: Told in sentences.

    Raises:
        ModelError: It is no decoder, or can't be found.
    """
    config = RunConfig(
        data=DataConfig(train="the answers"), model=model, method=ZeroShot(), endpoint=judge.endpoint, max_length=_READS
    )
    task = judge_task(judge.criteria)
    if isinstance(parse(model), EndpointReference):
        return open_endpoint(config, task, None, say).predict
    facts = facts_of(model)
    if facts.kind != "decoder":
        raise ModelError(f"model={model} is of kind {facts.kind}, which can't judge texts.", "Name a decoder.")
    choices = execution(config, facts)
    settle_machine(choices)
    opened = open_model(model, choices)
    return LocalPredictor(untouched(opened), opened.loaded.tokenizer, task, None, int(choices["max_length"])).predict


def judge_task(instruction: str) -> Classification:
    """The choice between two answers, as a classification."""
    asked = ClassificationConfig(instruction=instruction, template=_SHOWN)
    return asked.resolve("asked", None, "choice", (FIRST, SECOND), _COLUMNS)


def _record(pair: Mapping[str, str], swapped: bool, shows_reference: bool) -> Record:
    first, second = (pair["other"], pair["one"]) if swapped else (pair["one"], pair["other"])
    reference = pair["reference"] if shows_reference else ""
    fields = {"asked": pair["asked"], "a": first, "b": second, "reference": reference}
    return Record(f"{pair['id']}:{'ba' if swapped else 'ab'}", fields, f"row {pair['id']}")


def _answers(run: Finished) -> dict[str, Any]:
    path = run.folder / "predictions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["id"]: row["prediction"] for row in rows}
