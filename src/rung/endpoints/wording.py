"""What an endpoint's refusal means for the user, in words; a key is in none of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rung.endpoints.settings import EndpointConfig
from rung.endpoints.transport import AttemptError, Transport
from rung.errors import EndpointError, nearest

if TYPE_CHECKING:
    from rung.endpoints.client import Request

_TOO_LONG = re.compile(
    r"context.?(length|window|size)|maximum context|too (long|many tokens)|exceeds? .*(context|n_ctx)", re.IGNORECASE
)
_KEPT = "What was answered so far is kept: the same command goes on and pays for none of it again."


def is_too_long(error: AttemptError) -> bool:
    """Whether a server refused a request because its prompt is longer than the model can read."""
    return error.status in (400, 413, 422, 500) and bool(_TOO_LONG.search(error.what))


def refused(transport: Transport, settings: EndpointConfig, request: Request, error: AttemptError) -> EndpointError:
    """The error for a request that can't be answered.

    Args:
        transport: The endpoint; asked for its models where one is unknown to it.
        settings: How it is asked.
        request: What was asked.
        error: How the last try ended.
    """
    place = f"endpoint {transport.url}"
    if error.status in (401, 403):
        return _key_refused(place, transport, settings, error.status)
    if error.status == 404:
        return _not_found(place, transport, str(request.body["model"]))
    if is_too_long(error):
        return EndpointError(
            f"{request.source}: the prompt for this row is longer than the model of {place} can read: {error.what}",
            "Shorten the row, the instruction or the shots, or leave the row out.",
        )
    if error.status is None and not error.may_be_charged:
        return EndpointError(f"{place}: {error.what}", f"Check the address, and that the server runs. {_KEPT}")
    if error.wait is not None and error.again:
        return EndpointError(
            f"{place} wants no request for {error.wait:,.0f} s ({error.what})", f"Try again later. {_KEPT}"
        )
    if error.again:
        return EndpointError(
            f"{place}: no answer for {request.source} after {settings.max_retries + 1} tries; the last: {error.what}",
            f"Raise endpoint.max_retries, endpoint.timeout or endpoint.backoff. {_KEPT}",
        )
    if error.status == 429:
        return EndpointError(f"{place}: the account's quota is used up ({error.what})", _KEPT)
    return EndpointError(f"{place} refuses the request for {request.source}: {error.what}", _KEPT)


def _key_refused(place: str, transport: Transport, settings: EndpointConfig, status: int) -> EndpointError:
    """The server's own words are left out: some repeat a part of the key."""
    name = settings.api_key_env
    state = "holds a key that is not accepted" if transport.has_key else "is not set, so no key was sent"
    return EndpointError(
        f"{place} refuses access (status {status}): the environment variable {name} {state}",
        f"Set {name} to a key for this server, or name another variable: endpoint.api_key_env=NAME.",
    )


def _not_found(place: str, transport: Transport, model: str) -> EndpointError:
    offered = transport.models()
    if offered and model not in offered:
        match = nearest(model, offered)
        guess = f" Did you mean {match!r}?" if match else ""
        some = ", ".join(offered[:20]) + (f" and {len(offered) - 20} more" if len(offered) > 20 else "")
        return EndpointError(f"{place} has no model {model!r}.{guess}", f"It offers: {some}.")
    return EndpointError(
        f"{place} answers 404: it has no model {model!r}, or this is not where its API begins",
        "The address ends where /chat/completions is added, most often in /v1.",
    )


def unoffered(transport: Transport, settings: EndpointConfig) -> EndpointError:
    """The error for an endpoint that answers, but not in the way the settings ask for."""
    return EndpointError(
        f"endpoint {transport.url} gives no log-probabilities as endpoint.logprobs={settings.logprobs} needs them",
        "Set endpoint.logprobs=never, or auto.",
    )
