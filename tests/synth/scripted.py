"""A server with the API of OpenAI's chat that writes by rule: tasks, labels, inputs and outputs made of a seed."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.loopback import Loopback

VERBS = ("Describe", "Compare", "List", "Explain", "Summarise", "Translate", "Rank", "Name", "Count", "Praise")
THINGS = (
    "rivers", "bridges", "poets", "engines", "herbs", "moons", "clocks", "ferries", "violins", "harbours", "carpets",
    "mountains", "letters", "gardens", "stoves", "kites", "lanterns", "mills", "orchards", "trains",
)  # fmt: skip


def written(asked: str, seed: int) -> str:
    """The answer to a prompt; the same to the same."""
    chance = random.Random(f"{asked}{seed}")
    some = lambda count: " and ".join(chance.sample(THINGS, count))  # noqa: E731
    if found := re.search(r"numbered (\d+) to (\d+)", asked):
        tasks = [f"{chance.choice(VERBS)} the {some(4)} of a {chance.choice(THINGS)}." for _ in range(20)]
        return "Sure!\n" + "\n".join(
            f"{n}. {tasks[n - int(found[1])]}" for n in range(int(found[1]), int(found[2]) + 1)
        )
    if "with Yes or No" in asked:
        return chance.choice(["Yes", "No", "no, it is not"])
    if "passage answers" in asked:
        words = asked.rsplit("Passage: ", 1)[1].split()
        at = chance.randrange(len(words) - 6)
        supported = " ".join(words[at : at + 6])
        return f"Question: What is told of the {some(4)}?\nAnswer: {chance.choice([supported, some(3)])}"
    if chance.random() < 0.1:
        return f"Input: {some(3)}\nOutput: I'm sorry, but I can't help with that."
    return f"Input: {chance.choice(['none', some(3)])}\nOutput: It is the {some(4)} of {some(2)}."


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        with self.server.lock:
            self.server.seen[raw.decode()] += 1
        time.sleep(self.server.delay)
        asked = body["messages"][-1]["content"]
        text = written(asked, body["seed"])
        usage = {"prompt_tokens": len(asked.split()), "completion_tokens": len(text.split())}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        self._send(200, {"object": "chat.completion", "model": "scripted", "choices": [choice], "usage": usage})

    def do_GET(self) -> None:
        self._send(200, {"data": [{"id": "scripted"}]})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...


class Server(Loopback):
    """The server; `with` starts and ends it. `seen` counts each body that came."""

    def __init__(self) -> None:
        super().__init__(Handler)
        self.seen: Counter[str] = Counter()
        self.delay = 0.0

    @property
    def reference(self) -> str:
        return f"openai:scripted@{self.url}"
