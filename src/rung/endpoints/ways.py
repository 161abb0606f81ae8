"""How labels and texts are asked for: what there is, and which of it a server offers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rung.data.templates import render
from rung.endpoints import wording
from rung.endpoints.client import Client, Reply, Request
from rung.endpoints.reading import echoed, positions_of
from rung.endpoints.transport import AttemptError
from rung.models.tokenizer import PLAIN_TEMPLATE
from rung.types import Message

Api = Literal["chat", "completions"]
Reads = Literal["echo", "top", "written"]

_ROUTES: Mapping[Api, str] = {"chat": "chat/completions", "completions": "completions"}
_TOPS = (20, 5)
"""How many of the likeliest tokens are asked for; servers allow twenty, or only a few."""
_BYTES_A_TOKEN = 4
_END_OF_LINE = "\n"


@dataclass(frozen=True, slots=True)
class Way:
    """One way of asking.

    Attributes:
        api: What is called.
        reads: `echo` = whole answers are scored, `top` = from the likeliest tokens, `written` = from the text.
        top: How many of the likeliest tokens are asked for.
        limit: The server's name for the most tokens to write.
        temperature: Whether the server lets the temperature be set to 0.
    """

    api: Api
    reads: Reads
    top: int = 0
    limit: str = "max_tokens"
    temperature: bool = True

    def sentence(self, labels: int) -> str:
        """What is done, for the user."""
        route = _ROUTES[self.api]
        if not labels:
            return f"answers are written by {route}"
        if self.reads == "echo":
            return f"every label is scored as a whole, with {labels} requests to {route} a row"
        if self.reads == "top":
            return f"labels are scored from the {self.top} likeliest tokens of an answer ({route})"
        return (
            f"it offers no log-probabilities that can be used, so labels are read from answers written at temperature "
            f"0 ({route}): there are no probabilities and no calibration"
        )


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has: a fourth of its bytes. An estimate; the server alone knows."""
    return -(-len(text.encode("utf-8", errors="replace")) // _BYTES_A_TOKEN)


def plain(messages: Sequence[Message]) -> str:
    """Chat turns as one text, for a completion: as a local model without a chat template is asked."""
    turns = [{"role": one.role, "content": one.content} for one in messages]
    return render(PLAIN_TEMPLATE, {"messages": turns, "eos_token": ""})


def ask_for(way: Way, model: str, messages: Sequence[Message], tokens: int, source: str) -> Request:
    """The request for an answer of at most so many tokens."""
    body: dict[str, Any] = {"model": model, way.limit: tokens}
    if way.temperature:
        body["temperature"] = 0.0
    if way.api == "chat":
        body["messages"] = [{"role": one.role, "content": one.content} for one in messages]
        if way.reads == "top":
            body |= {"logprobs": True, "top_logprobs": way.top}
        read = sum(estimated_tokens(one.content) for one in messages)
    else:
        body |= {"prompt": plain(messages), "stop": ["\nInput:"]}
        if way.reads == "top":
            body["logprobs"] = way.top
        read = estimated_tokens(body["prompt"])
    return Request(_ROUTES[way.api], body, source, read + tokens)


def score_of(model: str, messages: Sequence[Message], answer: str, source: str) -> Request:
    """The request that has an answer scored: the prompt with it is echoed, and one more token is written, unread.

    The end of the line counts, so that an answer which another begins with is not the likelier for being short.
    """
    scored = f" {answer.strip()}{_END_OF_LINE}"
    prompt = plain(messages) + scored
    # Not 0 tokens: some servers take that for as many as there is room for.
    body = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0.0, "logprobs": 1, "echo": True}
    return Request(_ROUTES["completions"], body, source, estimated_tokens(prompt) + 1, len(scored))


def find(client: Client, writes: bool, request: Callable[[Way], Request]) -> Way:
    """The first way that the server offers, tried on a real request, whose answer is kept.

    Args:
        client: The endpoint.
        writes: Whether answers are texts and not labels.
        request: The request that a way comes to.

    Raises:
        EndpointError: The server offers none of those that the settings allow.
    """
    refusal: tuple[Request, AttemptError] | None = None
    missing: set[Api] = set()
    absent: set[tuple[Api, Reads]] = set()
    for candidate in candidates(client.settings.api, client.settings.logprobs, writes):
        if candidate.api in missing or (candidate.api, candidate.reads) in absent:
            continue
        way: Way | None = candidate
        while way is not None:
            asked = request(way)
            try:
                if offers(way, client.try_once(asked)):
                    return way
                absent.add((way.api, way.reads))
                way = None
            except AttemptError as error:
                if error.status in (404, 405, 501) and _is_missing_route(client, error):
                    missing.add(way.api)
                elif not _is_unsupported(error):
                    raise wording.refused(client.transport, client.settings, asked, error) from None
                refusal = asked, error
                way = _adapted(way, error)
    raise _none_offered(client, refusal)


def candidates(api: str, logprobs: str, writes: bool) -> Iterator[Way]:
    """The ways that the settings allow, the best first.

    Chat goes before completions: the server then lays the prompt out as the model was trained to see it.
    """
    apis: tuple[Api, ...] = (
        ("chat", "completions") if api == "auto" else ("chat",) if api == "chat" else ("completions",)
    )
    for one in apis:
        if not writes and one == "completions" and logprobs in ("auto", "echo"):
            yield Way(one, "echo")
        if not writes and logprobs in ("auto", "top"):
            yield from (Way(one, "top", top) for top in _TOPS)
        if writes or logprobs in ("auto", "never"):
            yield Way(one, "written")


def offers(way: Way, reply: Reply) -> bool:
    """Whether an answer holds what a way reads from it."""
    if way.reads == "echo":
        return echoed(reply.choice) is not None
    if way.reads == "top":
        found = positions_of(reply.choice)
        return found is not None and all(one.others for one in found)
    return True


def _is_unsupported(error: AttemptError) -> bool:
    """Whether a refusal is about what was asked for, not about the row, the key or the hour."""
    return (error.status in (400, 422) and not wording.is_too_long(error)) or (
        error.status is not None and error.status >= 500 and not error.again
    )


def _is_missing_route(client: Client, error: AttemptError) -> bool:
    """Whether it is the route that is not there, and not the model."""
    offered = client.transport.models()
    return error.status != 404 or (bool(offered) and client.reference.model in offered)


def _adapted(way: Way, error: AttemptError) -> Way | None:
    """The same way without what the server named in its refusal; None where that is not it."""
    if way.limit == "max_tokens" and "max_completion_tokens" in error.what:
        return replace(way, limit="max_completion_tokens")
    if way.temperature and "temperature" in error.what:
        return replace(way, temperature=False)
    return None


def _none_offered(client: Client, refusal: tuple[Request, AttemptError] | None) -> Exception:
    settings = client.settings
    if refusal is not None:
        return wording.refused(client.transport, settings, *refusal)
    return wording.unoffered(client.transport, settings)
