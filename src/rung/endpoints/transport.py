"""One try of one request: sent, read within its time, and what came of it: an answer, or who may have charged."""

from __future__ import annotations

import contextlib
import email.utils
import json
import os
import re
import time
import weakref
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2

from rung.endpoints.settings import EndpointConfig
from rung.errors import EndpointError

_LARGEST = 64_000_000
"""Bytes of a response beyond which it is not read on."""
_SHOWN = 300
_LOG_OF_NOTHING = -9999.0
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_KEY = re.compile(r"[!-~]+")


class AttemptError(Exception):
    """A try that gave no answer. Never reaches the user as it is.

    Attributes:
        what: What happened, in words; it never holds the key.
        status: The server's status, or None when there was none.
        again: Whether another try may help.
        may_be_charged: Whether the server may have done the work, and charge for it, though its answer is lost.
        wait: Seconds the server asks to wait, or None.
    """

    def __init__(
        self,
        what: str,
        status: int | None = None,
        *,
        again: bool = True,
        may_be_charged: bool = False,
        wait: float | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.status = status
        self.again = again
        self.may_be_charged = may_be_charged
        self.wait = wait


class Transport:
    """Connections to one endpoint.

    Args:
        url: Its base, for example `http://127.0.0.1:8000/v1`.
        settings: How it is asked.

    Raises:
        EndpointError: The environment variable holds no key that a header can carry.
    """

    def __init__(self, url: str, settings: EndpointConfig) -> None:
        self.url = url
        self.has_key = False
        self._timeout = settings.timeout
        self._key = os.environ.get(settings.api_key_env, "").strip()
        headers = {"Content-Type": "application/json", "User-Agent": "rung"}
        if self._key:
            if not _KEY.fullmatch(self._key):
                raise EndpointError(
                    f"the environment variable {settings.api_key_env} holds spaces or signs that no key has",
                    "Set it to the key alone.",
                )
            self.has_key = True
            headers["Authorization"] = f"Bearer {self._key}"
        # A redirect is never followed: it could take the key to another server.
        self._client = httpx2.Client(
            headers=headers,
            timeout=settings.timeout,
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=settings.concurrency),
            trust_env=urlsplit(url).hostname not in _LOOPBACK,
        )
        self._closer = weakref.finalize(self, self._client.close)

    @property
    def shows_key(self) -> bool:
        """Whether the key goes over a network that others may read."""
        parts = urlsplit(self.url)
        return self.has_key and parts.scheme == "http" and parts.hostname not in _LOOPBACK

    def close(self) -> None:
        """Close the connections; else they are closed with the last one who uses this."""
        self._closer()

    def post(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and read its answer, once.

        Args:
            route: What stands behind the base, for example `chat/completions`.
            body: The request.

        Returns:
            The answer's JSON object, which holds `choices`.

        Raises:
            AttemptError: There is no such answer.
        """
        status, headers, raw = self._exchange("POST", route, json.dumps(body).encode())
        if status != 200:
            raise self._refusal(status, headers, raw)
        try:
            answer = json.loads(raw, parse_constant=_finite)
        except (ValueError, RecursionError):
            raise AttemptError("its answer is no JSON, or was cut off", status, may_be_charged=True) from None
        if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list) or not answer["choices"]:
            raise AttemptError("its answer holds no choices", status, may_be_charged=True)
        return answer

    def models(self) -> list[str]:
        """The names of the models that the server offers; empty where it does not tell."""
        try:
            status, _, raw = self._exchange("GET", "models", None)
            return [str(one["id"]) for one in json.loads(raw)["data"]] if status == 200 else []
        except (AttemptError, ValueError, KeyError, TypeError, RecursionError):
            return []  # only asked for a better word in an error, or to tell a missing route from a missing model

    def _exchange(self, verb: str, route: str, content: bytes | None) -> tuple[int, Mapping[str, str], bytes]:
        deadline = time.monotonic() + self._timeout
        try:
            with self._client.stream(verb, f"{self.url}/{route}", content=content) as response:
                return response.status_code, response.headers, self._read(response, deadline)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError) as error:
            raise AttemptError(f"it can't be reached: {_reason(error)}") from None
        except httpx2.TimeoutException:
            raise AttemptError(f"no whole answer within {self._timeout:g} s", may_be_charged=True) from None
        except (httpx2.NetworkError, httpx2.ProtocolError, httpx2.DecodingError):
            raise AttemptError("the connection was cut before its answer was whole", may_be_charged=True) from None

    def _read(self, response: httpx2.Response, deadline: float) -> bytes:
        """The body, as long as it comes in time: a server that sends a byte a second is slow too."""
        found = bytearray()
        for piece in response.iter_bytes():
            found += piece
            if time.monotonic() > deadline:
                raise AttemptError(f"no whole answer within {self._timeout:g} s", may_be_charged=True)
            if len(found) > _LARGEST:
                raise AttemptError(f"its answer has more than {_LARGEST:,} bytes", may_be_charged=True, again=False)
        return bytes(found)

    def _refusal(self, status: int, headers: Mapping[str, str], raw: bytes) -> AttemptError:
        message, code = _message(raw)
        said = self._told(message)
        spent = status == 429 and code == "insufficient_quota"
        # Some servers answer 500 where they were built without log-probabilities: no patience mends that.
        unable = status >= 500 and "logprobs" in message
        again = (status in (408, 409, 425, 429) or status >= 500) and status != 501 and not spent and not unable
        what = f"status {status}: {said}" if said else f"status {status}"
        if 300 <= status < 400:
            what += " (it sends us elsewhere, and the key goes nowhere else: give the address it names)"
        return AttemptError(what, status, again=again, wait=_wait(headers.get("retry-after")))

    def _told(self, message: str) -> str:
        """A server's words, short, on one line and without the key."""
        if self._key:
            message = message.replace(self._key, "[key]")
        line = " ".join("".join(sign if sign.isprintable() else " " for sign in message).split())
        return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def _finite(constant: str) -> float:
    """Some servers write the log of nothing as -Infinity, which no JSON has; NaN is a broken answer."""
    if constant != "-Infinity":
        raise ValueError(constant)
    return _LOG_OF_NOTHING


def _reason(error: Exception) -> str:
    """Why a connection failed, without addresses of objects and the like."""
    text = str(error).strip()
    return text if text and len(text) <= _SHOWN else type(error).__name__


def _message(raw: bytes) -> tuple[str, str]:
    """A refusal's message and code, however the server words it."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return raw[: 4 * _SHOWN].decode("utf-8", errors="replace"), ""
    found = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(found, dict):
        said = found.get("message") or found.get("detail") or ""
        return said if isinstance(said, str) else json.dumps(said), str(found.get("code") or found.get("type") or "")
    return str(found), ""


def _wait(header: str | None) -> float | None:
    """Seconds that Retry-After names, as a number or as a date."""
    if header is None:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(header))
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
