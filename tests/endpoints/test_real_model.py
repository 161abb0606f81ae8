"""A pretrained model behind the server gives what it gives on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rung.endpoints.client import Client
from rung.endpoints.predictor import EndpointPredictor
from rung.endpoints.settings import EndpointConfig
from rung.endpoints.ways import plain
from rung.evaluate.predictor import LocalPredictor
from rung.methods.adapted import Adapted
from rung.methods.few_shot import FewShot
from rung.models.references import EndpointReference, parse
from rung.run.start import open_model
from rung.tasks.classification import ClassificationConfig
from rung.types import Record

MESSAGES = [
    ("Win a free phone now! Call 0900 123 to claim your prize", "spam"),
    ("Are you home for dinner tonight?", "ham"),
    ("URGENT: your account won 500 pounds, reply CLAIM", "spam"),
    ("I'll be ten minutes late, sorry", "ham"),
    ("Free entry in a weekly draw, text WIN to 80086", "spam"),
    ("Can you pick up milk on the way?", "ham"),
]
RECORDS = [
    Record(str(at), {"text": text, "label": label}, f"rows.csv:{at + 2}") for at, (text, label) in enumerate(MESSAGES)
]
TRAIN, TEST = RECORDS[:3], RECORDS[2:]
TASK = ClassificationConfig(instruction="Is this message spam or ham?").resolve(
    "text", None, "label", ("ham", "spam"), ("text", "label")
)


@pytest.fixture(scope="module")
def smollm2(serving: Any, smollm2_path: Path) -> Iterator[Any]:
    with serving.Server(smollm2_path, serving.Behaviour(favours=())) as server:
        yield server


def asking(server: Any, **settings: Any) -> EndpointPredictor:
    reference = parse(server.reference)
    assert isinstance(reference, EndpointReference)
    return EndpointPredictor(Client(reference, EndpointConfig(timeout=120, concurrency=2, **settings)), TASK, 1024)


def test_labels_behind_an_api_are_those_of_the_model_itself(smollm2: Any, smollm2_path: Path) -> None:
    """The two differ in what they count: whole answers with the end of the turn here, the first tokens there."""
    opened = open_model(str(smollm2_path), {"device": "cpu", "dtype": "float32"})
    here = LocalPredictor(Adapted(opened.family, None), opened.loaded.tokenizer, TASK, None, 1024)
    there = asking(smollm2)
    prompt = FewShot(num_shots=2).fit(there, TASK, TRAIN, seed=7)
    own, asked = here.predict(TEST, prompt), there.predict(TEST, prompt)
    there.client.close()
    assert there.way is not None and there.way.reads == "top"
    for local, remote in zip(own, asked, strict=True):
        assert local.probabilities is not None and remote.probabilities is not None
        assert remote.probabilities[0] == pytest.approx(local.probabilities[0], abs=0.1)
        if abs(local.probabilities[0] - 0.5) > 0.1:
            assert remote.label == local.label
    assert there.client.spending.totals.answered == len(TEST) + 3, "the three say nothing, for the calibration"


def test_whole_answers_are_scored_as_the_model_scores_them(smollm2: Any) -> None:
    there = asking(smollm2, api="completions")
    for found, record in zip(there.predict(TEST[:2]), TEST[:2], strict=True):
        before = plain(TASK.render(record, TASK.prompt).messages)
        assert found.scores is not None
        for label, score in zip(TASK.labels, found.scores, strict=True):
            ids, start = smollm2.model.text_ids(f"{before} {label}\n"), len(smollm2.model.text_ids(before))
            logs = smollm2.model.logs(ids)
            wanted = sum(float(logs[at - 1][ids[at]]) for at in range(start, len(ids)))
            assert score == pytest.approx(wanted, abs=1e-6)
    there.client.close()
    assert there.way is not None and there.way.reads == "echo"
