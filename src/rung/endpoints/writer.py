"""Texts from an endpoint, for a method that has instructions written (see `rung.methods.tuning.Writer`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rung.endpoints import ways
from rung.endpoints.client import Client, Request
from rung.endpoints.reading import text_of
from rung.endpoints.ways import Way
from rung.types import Message


class EndpointWriter:
    """Answers conversations.

    Args:
        client: The endpoint.
        way: How it is asked; None finds out with the first conversation.
    """

    def __init__(self, client: Client, way: Way | None = None) -> None:
        self.client = client
        # What completions can't score they can still write.
        self._way = None if way is None else replace(way, reads="written", top=0)

    def write(self, chats: Sequence[Sequence[Message]], max_new_tokens: int) -> list[str]:
        """One text per conversation.

        Raises:
            EndpointError: The endpoint gives no answer.
        """
        if not chats:
            return []

        def request(way: Way, turns: Sequence[Message]) -> Request:
            return ways.ask_for(way, self.client.reference.model, turns, max_new_tokens, "an instruction to be written")

        if self._way is None:
            self._way = ways.find(self.client, True, lambda way: request(way, chats[0]))
        way = self._way
        return [text_of(one.choice).strip() for one in self.client.ask_all([request(way, turns) for turns in chats])]

    def written_tokens(self, chats: Sequence[Sequence[Message]], texts: Sequence[str]) -> int:
        """About how many tokens were read and written for these texts; the ledger has the server's own count."""
        read = sum(ways.estimated_tokens(turn.content) for turns in chats for turn in turns)
        return read + sum(ways.estimated_tokens(text) for text in texts)
