"""An endpoint that speaks the usual chat protocol can be prompted by the product's own methods."""

from __future__ import annotations

import json
import math
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from scipy.special import softmax

from rung.errors import ConfigError, IncompatibleError
from rung.methods.few_shot import FewShot
from rung.methods.lora import Lora
from rung.methods.zero_shot import ZeroShot
from rung.tasks.base import Task
from rung.tasks.classification import ClassificationConfig
from rung.types import Prediction, Prompt, Record

TASK = ClassificationConfig().resolve("text", None, "label", ("bad", "good"), ("text", "label"))
ROWS = [
    Record(str(at), {"text": text, "label": label}, f"a.csv:{at + 2}")
    for at, (text, label) in enumerate(
        [("a joy", "good"), ("so dull", "bad"), ("a warm joy", "good"), ("dull and poor", "bad"), ("poor", "bad")]
    )
]


class Rule(BaseHTTPRequestHandler):
    """Counts words of praise and blame in the last turn, and leans to `good` by two."""

    asked: list[list[dict[str, str]]]

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/chat/completions"
        self.asked.append(request["messages"])
        words = request["messages"][-1]["content"].split()
        score = (
            2.0
            + 1.5 * sum(word in {"joy", "warm"} for word in words)
            - 1.5 * sum(word in {"dull", "poor"} for word in words)
        )
        tops = [{"token": "good", "logprob": -math.log1p(math.exp(-score))}]
        tops.append({"token": "bad", "logprob": -math.log1p(math.exp(score))})
        tops.sort(key=lambda one: -one["logprob"])
        content = {"role": "assistant", "content": tops[0]["token"]}
        choice = {"index": 0, "message": content, "logprobs": {"content": [{**tops[0], "top_logprobs": tops}]}}
        body = json.dumps({"object": "chat.completion", "model": request["model"], "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


class EndpointPredictor:
    """Asks an endpoint for the log-probability of each answer's first word."""

    def __init__(self, url: str, model: str, task: Task, max_length: int = 400) -> None:
        self.url = url
        self.model = model
        self.task = task
        self.max_length = max_length

    def predict(self, records: Sequence[Record], prompt: Prompt) -> list[Prediction]:
        return [self._one(record, prompt) for record in records]

    def count_tokens(self, record: Record, prompt: Prompt) -> int:
        turns = self.task.render(record, prompt).messages
        return sum(len(turn.content.split()) for turn in turns) + max(map(len, prompt.verbalizer.values()))

    def _one(self, record: Record, prompt: Prompt) -> Prediction:
        messages = [{"role": one.role, "content": one.content} for one in self.task.render(record, prompt).messages]
        asked = {"model": self.model, "messages": messages, "max_tokens": 1, "logprobs": True, "top_logprobs": 5}
        request = urllib.request.Request(
            f"{self.url}/v1/chat/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            found = json.load(answer)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        logs = {one["token"]: one["logprob"] for one in found}
        raw = np.array([logs[prompt.verbalizer[label]] for label in self.task.labels])
        prior = np.zeros(len(raw)) if prompt.calibration is None else np.array(prompt.calibration)
        return self.task.parse_scores(record.id, raw.tolist(), softmax(raw - prior).tolist())


@pytest.fixture
def predictor() -> Iterator[EndpointPredictor]:
    Rule.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Rule)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield EndpointPredictor(f"http://127.0.0.1:{server.server_port}", "rule", TASK)
    server.shutdown()
    thread.join()
    server.server_close()


def labels(predictions: Sequence[Prediction]) -> list[str]:
    return [one.label for one in predictions]


def test_zero_shot_calibrates_an_endpoint_and_predicts(predictor: EndpointPredictor) -> None:
    truth = [record.fields["label"] for record in ROWS]
    prompt = ZeroShot().fit(predictor, TASK, ROWS, seed=7)
    assert prompt.calibration is not None
    assert prompt.calibration[1] - prompt.calibration[0] == pytest.approx(2.0), "what the rule leans by"
    assert labels(predictor.predict(ROWS, prompt)) == truth
    bare = ZeroShot(calibration=False).fit(predictor, TASK, ROWS, seed=7)
    assert bare == TASK.prompt
    assert labels(predictor.predict(ROWS, bare)) == ["good", "good", "good", "bad", "good"]


def test_few_shot_shows_an_endpoint_its_examples(predictor: EndpointPredictor) -> None:
    prompt = FewShot(num_shots=4).fit(predictor, TASK, ROWS, seed=7)
    assert sorted(shot.answer for shot in prompt.shots) == ["bad", "bad", "good", "good"]
    assert labels(predictor.predict(ROWS, prompt)) == [record.fields["label"] for record in ROWS]
    turns = Rule.asked[-1]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 4 + ["user"]
    assert turns[0]["content"].startswith("Classify the text. Answer with one of: bad, good.\n\n")
    assert turns[-1]["content"] == "poor"


def test_shots_that_the_endpoint_can_not_read_are_refused(predictor: EndpointPredictor) -> None:
    predictor.max_length = 40
    wordy = replace(TASK.prompt, instruction="Say what the writer thinks of it.")
    task = ClassificationConfig(instruction=wordy.instruction).resolve("text", None, "label", TASK.labels, ("text",))
    with pytest.raises(ConfigError, match=r"method.num_shots=5: the prompt takes \d+ tokens, and 20 of the model's 40"):
        FewShot(num_shots=5).fit(predictor, task, ROWS, seed=7)


def test_weights_of_an_endpoint_can_not_be_trained() -> None:
    with pytest.raises(IncompatibleError, match="an endpoint's weights can't be reached"):
        Lora().check("endpoint", "classification")
