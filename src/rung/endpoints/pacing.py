"""When a request may be sent: rate limits, pauses that the server asks for, and back-off."""

from __future__ import annotations

import hashlib
import threading
import time

from rung.endpoints.settings import EndpointConfig

_LONGEST_BACKOFF = 30.0


class Pace:
    """Says when a request may go; shared by all that are under way.

    Requests are spread evenly over the minute, so that no server's own way of counting can object.

    Args:
        settings: The limits.
        stop: Set when nothing is to be sent any more: whoever waits is woken.
    """

    def __init__(self, settings: EndpointConfig, stop: threading.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._lock = threading.Lock()
        self._next_request = self._next_tokens = self._held = 0.0

    def wait(self, tokens: float) -> None:
        """Wait until a request of about so many tokens may be sent."""
        with self._lock:
            at = max(time.monotonic(), self._held, self._next_request, self._next_tokens)
            if self._settings.requests_per_minute is not None:
                self._next_request = at + 60 / self._settings.requests_per_minute
            self._next_tokens = at
        self.used(tokens)
        while (left := max(at, self._held) - time.monotonic()) > 0 and not self._stop.wait(left):
            pass

    def used(self, tokens: float) -> None:
        """Count tokens; below 0 gives some back, when a request was smaller than was thought."""
        if self._settings.tokens_per_minute is not None:
            with self._lock:
                self._next_tokens += tokens * 60 / self._settings.tokens_per_minute

    def hold(self, seconds: float) -> None:
        """Let nobody send for so long: the server asked for it."""
        with self._lock:
            self._held = max(self._held, time.monotonic() + seconds)

    def back_off(self, key: str, tries: int) -> None:
        """Wait before a new try, longer each time; the jitter is the request's own, the same in every run."""
        digest = hashlib.sha256(f"{key}:{tries}".encode()).digest()
        jitter = 0.5 + int.from_bytes(digest[:4], "big") / 2**33
        self._stop.wait(min(self._settings.backoff * 2**tries, _LONGEST_BACKOFF) * jitter)
