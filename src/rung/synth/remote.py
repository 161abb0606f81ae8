"""A model behind an OpenAI-compatible API that writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rung.endpoints import ways
from rung.endpoints.client import Client, Request
from rung.endpoints.reading import text_of
from rung.endpoints.ways import Way
from rung.errors import ModelError
from rung.models.references import EndpointReference, parse
from rung.synth.asking import Answer, Ask
from rung.synth.settings import Style, SynthConfig
from rung.types import Message

_OF_A_TURN = 16
"""Tokens that a chat template puts around a turn, at most."""


class RemoteModel:
    """Answers over the network; what was answered before comes from the cache of answers.

    Args:
        config: The settings.
        journal: Where requests are noted.
        run: Whose they are.

    Raises:
        ModelError: The reference is no endpoint.
    """

    def __init__(self, config: SynthConfig, journal: Path, run: str) -> None:
        reference = parse(config.model)
        if not isinstance(reference, EndpointReference):
            raise ModelError(f"model={config.model!r} is not an endpoint.", "Write openai:MODEL@http://host:port/v1.")
        self._style: Style = "chat" if config.style == "auto" else config.style
        # A text is written on by completions alone.
        settings = config.endpoint
        if self._style == "continuation":
            settings = settings.model_copy(update={"api": "completions"})
        self.client = Client(reference, settings, journal, run)
        self._top_p = config.top_p
        self._way: Way | None = None

    @property
    def style(self) -> Style:
        """How it is asked."""
        return self._style

    def bounds(self, asks: Sequence[Ask]) -> tuple[int, int]:
        """Most tokens that answering may read, one for each byte, and may write."""
        read = sum(len(ask.text.encode("utf-8", errors="replace")) + _OF_A_TURN for ask in asks)
        return read, sum(ask.max_new_tokens for ask in asks)

    def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        """One answer per request, in their order.

        Raises:
            EndpointError: The endpoint gives no answer; those that came before are kept.
        """
        if self._way is None:
            self._way = ways.find(self.client, True, lambda way: self._request(way, asks[0]))
        way = self._way
        replies = self.client.ask_all([self._request(way, ask) for ask in asks])
        found: list[Answer] = []
        for ask, reply in zip(asks, replies, strict=True):
            # What a server does not say is taken for as much as it can be.
            read, written = self.bounds([ask])
            finished = reply.choice.get("finish_reason") != "length"
            tokens = [most if said is None else said for said, most in ((reply.input, read), (reply.output, written))]
            # A server can write signs that UTF-8 has no bytes for.
            text = text_of(reply.choice).encode("utf-8", errors="replace").decode("utf-8")
            found.append(Answer(text, finished, *tokens))
        return found

    def _request(self, way: Way, ask: Ask) -> Request:
        model, turns = self.client.reference.model, (Message("user", ask.text),)
        asked = ways.ask_for(way, model, turns, ask.max_new_tokens, ask.about)
        body: dict[str, Any] = {**asked.body, "seed": ask.seed}
        if way.temperature:
            body |= {"temperature": ask.temperature, "top_p": self._top_p}
        if self._style == "continuation":
            body |= {"prompt": ask.text, "stop": list(ask.stops[:4])}
        return Request(asked.route, body, ask.about, asked.tokens)
