"""A small OpenAI-compatible server on loopback around one of our own models, with faults on request.

It answers chat/completions and completions for real: it renders the chat with the model's template, runs the model, and
gives log-probabilities, the likeliest tokens and echoed prompts. It counts what it computed, for that is what a server
charges for, whether its answer arrives or not.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import torch
from tests.loopback import Loopback

from rung.models.load import load
from rung.models.tokenizer import end_of_turn_id, render_chat
from rung.types import Message

MODEL = "tiny"
REFUSALS = {
    "429": (429, {"message": "injected 429", "type": "injected"}),
    "500": (500, {"message": "injected 500", "type": "injected"}),
    "302": (302, {}),
    "quota": (429, {"message": "You exceeded your quota", "code": "insufficient_quota"}),
}


@dataclass
class Behaviour:
    """What the server does beside answering.

    Attributes:
        fault: Given how often this very request came before, and its number, the fault to inject, or None.
        key: The key it wants; None wants none.
        logprobs: `yes`, `ignored` (answers without them), or `refused` (status 400).
        chat, usage: Whether there is chat/completions; whether it says how many tokens there were.
        slow, delay: Seconds that the fault `slow` takes, and that every answer takes.
        retry_after: The header of a 429, or None.
        favours: Words that the first written token leans to, so that a random model names labels.
        refuses, longest: Fields of a request that it answers with status 400; tokens that a prompt may have.
    """

    fault: Callable[[int, int], str | None] = lambda before, number: None
    key: str | None = None
    logprobs: str = "yes"
    chat: bool = True
    usage: bool = True
    refuses: tuple[str, ...] = ()
    slow: float = 1.0
    delay: float = 0.0
    retry_after: str | None = "0"
    favours: tuple[str, ...] = ("good", "bad")
    longest: int = 10_000


@dataclass
class Counts:
    """What came and how often, what of it was computed, and the Authorization headers."""

    seen: Counter[str] = field(default_factory=Counter)
    charged: Counter[str] = field(default_factory=Counter)
    keys: list[str | None] = field(default_factory=list)
    most_at_once: int = 0


class Model:
    """A decoder that is computed plainly, one sequence at a time."""

    def __init__(self, path: Path) -> None:
        loaded = load(str(path), torch.float32, "cpu")
        self.module, self.tokenizer = loaded.module, loaded.tokenizer
        self.end = end_of_turn_id(self.tokenizer)

    def logs(self, ids: list[int], last: bool = False) -> torch.Tensor:
        """`[T, V]` log-probability of each next token, or of the last one alone."""
        with torch.inference_mode():
            found = self.module(input_ids=torch.tensor([ids]), logits_to_keep=1 if last else 0)
            return found.logits[0].double().log_softmax(-1)

    def chat_ids(self, messages: list[dict[str, str]]) -> list[int]:
        return render_chat(self.tokenizer, [Message(**one) for one in messages], add_generation_prompt=True)

    def text_ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def write(self, ids: list[int], limit: int, favours: tuple[str, ...]) -> list[tuple[int, torch.Tensor]]:
        """Greedy tokens, each with the log-probabilities it was chosen from; the end of the turn is not among them."""
        written: list[tuple[int, torch.Tensor]] = []
        words = [self.text_ids(word) for word in favours]
        while len(written) < limit:
            begun = [one for one, _ in written]
            logs = self.logs([*ids, *begun], last=True)[-1]
            if words:  # one of these words, to its end, and then the end of the turn
                open_ = [word for word in words if word[: len(begun)] == begun]
                lifted = [[*word, self.end][len(begun)] for word in open_] or [self.end]
                logs = logs.clone()
                logs[lifted] += 40.0
                logs = logs.log_softmax(-1)
            best = int(logs.argmax())
            if best == self.end:
                break
            written.append((best, logs))
        return written


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._json(200, {"data": [{"id": MODEL}, {"id": "another"}]})
        else:
            self._json(404, {"error": {"message": "no such route"}})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            counts = self.server.counts
            counts.keys.append(self.headers.get("Authorization"))
            text = f"{self.path} {raw.decode()}"
            before, number = counts.seen[text], counts.seen.total()
            counts.seen[text] += 1
            self.server.under_way += 1
            counts.most_at_once = max(counts.most_at_once, self.server.under_way)
        try:
            self._answer(text, json.loads(raw), self.server.behaviour.fault(before, number))
        finally:
            with self.server.lock:
                self.server.under_way -= 1

    def _answer(self, text: str, body: dict[str, Any], fault: str | None) -> None:
        behaviour = self.server.behaviour
        refusal = self._refusal(body)
        if refusal is not None:
            self._json(*refusal)
            return
        if fault in REFUSALS:
            headers = {"Retry-After": behaviour.retry_after} if fault == "429" and behaviour.retry_after else {}
            status, error = REFUSALS[fault]
            self._json(status, {"error": error}, {"Location": "http://127.0.0.1:9/v1", **headers})
            return
        with self.server.lock:
            answer = self._chat(body) if self.path.endswith("/chat/completions") else self._completion(body)
            self.server.counts.charged[text] += 1
        if not behaviour.usage:
            del answer["usage"]
        time.sleep(behaviour.slow if fault == "slow" else behaviour.delay)
        content = json.dumps(answer).encode()
        if fault == "nothing":  # the log of nothing, as some servers write it
            content = content.replace(
                b'"top_logprobs": [{', b'"top_logprobs": [{"token": "x", "logprob": -Infinity}, {', 1
            )
        if fault == "cut":
            self._send(200, content[: len(content) // 2], {"Content-Length": str(len(content))})
            self.close_connection = True
        elif fault == "garbled":
            self._send(200, content[: len(content) // 2], {})
        elif fault == "bare":
            self._json(200, {"object": "chat.completion", "choices": []})
        else:
            self._send(200, content, {})

    def _refusal(self, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]] | None:
        behaviour = self.server.behaviour
        if behaviour.key is not None and self.headers.get("Authorization") != f"Bearer {behaviour.key}":
            sent = self.headers.get("Authorization") or "none"
            return 401, {"error": {"message": f"Incorrect API key provided: {sent}", "code": "invalid_api_key"}}
        if body["model"] != MODEL:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist"}}
        if self.path.endswith("/chat/completions") and not behaviour.chat:
            return 404, {"error": {"message": "no such route"}}
        if behaviour.logprobs == "refused" and body.get("logprobs"):
            return 400, {"error": {"message": "logprobs are not supported by this model"}}
        for name in behaviour.refuses:
            if name in body:
                instead = "; use 'max_completion_tokens' instead" if name == "max_tokens" else ""
                return 400, {"error": {"message": f"Unsupported parameter: '{name}'{instead}"}}
        if len(self._ids(body)) > behaviour.longest:
            return 400, {"error": {"message": f"This model's maximum context length is {behaviour.longest} tokens."}}
        return None

    def _ids(self, body: Mapping[str, Any]) -> list[int]:
        model = self.server.model
        return model.chat_ids(body["messages"]) if "messages" in body else model.text_ids(body["prompt"])

    def _chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        model, limit = self.server.model, int(body.get("max_tokens") or body["max_completion_tokens"])
        ids = self._ids(body)
        written = model.write(ids, limit, self.server.behaviour.favours)
        text = model.tokenizer.decode([one for one, _ in written])
        reason = "length" if len(written) == limit else "stop"
        choice: dict[str, Any] = {
            "index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason, "logprobs": None,
        }  # fmt: skip
        if body.get("logprobs") and self.server.behaviour.logprobs == "yes":
            content = []
            for one, logs in written:
                tops = [{"token": token, "logprob": log} for token, log in self._tops(logs, body["top_logprobs"])]
                content.append(
                    {"token": model.tokenizer.decode([one]), "logprob": float(logs[one]), "top_logprobs": tops}
                )
            choice["logprobs"] = {"content": content}
        return self._whole("chat.completion", choice, len(ids), len(written))

    def _completion(self, body: Mapping[str, Any]) -> dict[str, Any]:
        model, prompt = self.server.model, body["prompt"]
        ids = self._ids(body)
        wants, echo = body.get("logprobs"), bool(body.get("echo"))
        favours = () if echo else self.server.behaviour.favours
        written = model.write(ids, int(body["max_tokens"]), favours)
        shown = ([*ids] if echo else []) + [one for one, _ in written]
        text = (prompt if echo else "") + model.tokenizer.decode([one for one, _ in written])
        choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}
        if wants is not None and self.server.behaviour.logprobs == "yes":
            rows = list(model.logs(ids)[:-1]) if echo else []
            logs = ([None] if echo else []) + rows + [found for _, found in written]
            tokens = [model.tokenizer.decode([one]) for one in shown]
            choice["logprobs"] = {
                "tokens": tokens,
                "token_logprobs": [
                    None if row is None else float(row[one]) for row, one in zip(logs, shown, strict=True)
                ],
                "top_logprobs": [None if row is None else dict(self._tops(row, wants)) for row in logs],
                "text_offset": [sum(map(len, tokens[:at])) for at in range(len(tokens))],
            }
        return self._whole("text_completion", choice, len(ids), len(written))

    def _tops(self, logs: torch.Tensor, count: int) -> list[tuple[str, float]]:
        found = logs.topk(count)
        return [(self.server.model.tokenizer.decode([int(id)]), float(log)) for log, id in zip(*found, strict=True)]

    def _whole(self, kind: str, choice: dict[str, Any], read: int, written: int) -> dict[str, Any]:
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        return {"object": kind, "model": "tiny-2026", "choices": [choice], "usage": usage}

    def _json(self, status: int, body: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), headers or {})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...


class Server(Loopback):
    """The server; `with` starts and ends it."""

    def __init__(self, path: Path, behaviour: Behaviour | None = None) -> None:
        super().__init__(Handler)
        self.model = Model(path)
        self.behaviour = behaviour or Behaviour()
        self.counts = Counts()
        self.under_way = 0

    @property
    def reference(self) -> str:
        return f"openai:{MODEL}@{self.url}"

    def behave(self, **behaviour: Any) -> None:
        """Behave otherwise from here on, and count anew."""
        self.behaviour, self.counts = Behaviour(**behaviour), Counts()
