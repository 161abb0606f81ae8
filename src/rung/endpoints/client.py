"""Asks an endpoint: many requests at once, each answered from the cache or tried until it is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.endpoints import wording
from rung.endpoints.cache import request_key, responses
from rung.endpoints.pacing import Pace
from rung.endpoints.settings import EndpointConfig
from rung.endpoints.spending import Spending
from rung.endpoints.transport import AttemptError, Transport
from rung.errors import EndpointError
from rung.models.cache import cache_root
from rung.models.references import EndpointReference

LONGEST_WAIT = 600.0
"""Seconds of Retry-After beyond which waiting is left to the user."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        route: `chat/completions` or `completions`.
        body: What is sent, the model's name included.
        source: The row it is about, `file:line`, for errors.
        tokens: About how many tokens it takes, read and written, for the rate limit.
        scored: Characters at the end of an echoed prompt whose log-probability is wanted.
    """

    route: str
    body: Mapping[str, Any]
    source: str
    tokens: float
    scored: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        choice: The first of its choices; of an echoed prompt the positions behind it alone.
        model: What the server says it is.
        seconds: From sending to the last byte, when it was asked.
        input: Tokens read, as the server says, or None.
        output: Tokens written, as the server says, or None.
    """

    choice: Mapping[str, Any]
    model: str
    seconds: float
    input: int | None
    output: int | None


class Client:
    """Requests to one model behind one address.

    Args:
        reference: The model and the address.
        settings: How it is asked.
        journal: Where requests are noted (see `Spending`); None = in memory.
        run: Whose requests they are.

    Raises:
        EndpointError: The environment variable holds no key that can be sent.
    """

    def __init__(
        self, reference: EndpointReference, settings: EndpointConfig, journal: Path | None = None, run: str = ""
    ) -> None:
        self.reference = reference
        self.settings = settings
        self.transport = Transport(reference.url, settings)
        self._cache = responses(cache_root() / "responses")
        self.spending = Spending(journal, run, self._usage)
        self._stop = threading.Event()
        self._pace = Pace(settings, self._stop)
        self._reached = False

    @property
    def spent(self) -> str:
        """The ledger in a sentence."""
        totals, prices = self.spending.totals, self.settings.prices
        money = f", {prices.of(totals.input_tokens, totals.output_tokens):.4g} by endpoint.prices" if prices else ""
        lost = f"; {totals.possibly_charged} answers were lost and may be charged" if totals.possibly_charged else ""
        return (
            f"{totals.answered} requests were answered ({totals.input_tokens:,} tokens read, {totals.output_tokens:,} "
            f"written{money}), {totals.cached} came from the cache{lost}."
        )

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    def ask_all(self, requests: Sequence[Request], anew: bool = False) -> list[Reply]:
        """Answers in the order of the requests; equal ones are asked once.

        When one fails for good, those under way end, and are kept; no further one is sent.

        Args:
            requests: What is asked.
            anew: Whether the server is asked whatever the cache holds, which then stays as it is.

        Raises:
            EndpointError: One can't be answered.
            StorageError: An answer can't be kept.
        """
        self._stop.clear()
        with ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="endpoint") as pool:
            futures = [pool.submit(self.ask, request, anew) for request in requests]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            except BaseException:
                self._give_up(pool)
                raise
            failed = [error for one in done if (error := one.exception()) is not None]
            if failed:
                self._give_up(pool)
                raise failed[0]
            return [one.result() for one in futures]

    def ask(self, request: Request, anew: bool = False) -> Reply:
        """One answer, from the cache or from the server.

        Raises:
            EndpointError: It can't be answered.
            StorageError: It can't be kept.
        """
        try:
            return self._answer(request, anew)
        except AttemptError as error:
            raise wording.refused(self.transport, self.settings, request, error) from None

    def try_once(self, request: Request) -> Reply:
        """As `ask`, but a refusal comes as an `AttemptError`: for finding out what the server can do."""
        self._stop.clear()
        return self._answer(request, False)

    def _answer(self, request: Request, anew: bool) -> Reply:
        key = request_key(self.reference.url, request.route, request.body, request.scored)
        if anew:
            return _reply(self._send(key, request))
        with self._cache.claim(key, self._stop):
            kept = self._cache.read(key)
            if kept is not None:
                self.spending.cached()
                return _reply(kept)
            return _reply(self._send(key, request, keep=True))

    def _send(self, key: str, request: Request, keep: bool = False) -> dict[str, Any]:
        """Try until there is an answer; it is kept before it is counted, so that a kill between loses neither."""
        number = 0
        while True:
            self._pace.wait(request.tokens)
            if self._stop.is_set():
                raise EndpointError("stopped", "The same command goes on.")
            self.spending.note(key, number, "sent")
            try:
                began = time.perf_counter()
                answer = self.transport.post(request.route, request.body)
                found = slim(answer, request, time.perf_counter() - began)
            except AttemptError as error:
                self._after(error, key, number)
                number += 1
                continue
            self._reached = True
            if keep:
                self._cache.write(key, found)
            self.spending.note(key, number, "answered", input=found["input"], output=found["output"])
            self._pace.used((found["input"] or 0) + (found["output"] or 0) - request.tokens)
            return found

    def _after(self, error: AttemptError, key: str, number: int) -> None:
        """Count a failed try, and wait before the next one; raise the error where there is to be none."""
        unreached = error.status is None and not error.may_be_charged
        self.spending.note(key, number, "lost" if error.may_be_charged else "unreached" if unreached else "refused")
        if unreached and not self._reached:
            error.again = False  # never seen: a wrong address is likelier than a server about to start
        self._reached = self._reached or not unreached
        if not error.again or number >= self.settings.max_retries or (error.wait or 0) > LONGEST_WAIT:
            raise error
        if error.wait is None:
            self._pace.back_off(key, number)
        else:
            self._pace.hold(error.wait)

    def _usage(self, key: str) -> dict[str, Any] | None:
        kept = self._cache.read(key)
        return None if kept is None else {"input": kept["input"], "output": kept["output"]}

    def _give_up(self, pool: ThreadPoolExecutor) -> None:
        self._stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def slim(answer: Mapping[str, Any], request: Request, seconds: float) -> dict[str, Any]:
    """What is kept of an answer: its first choice and its usage, without the prompt that was sent.

    Raises:
        AttemptError: It is not formed as the API has it.
    """
    try:
        choice = dict(answer["choices"][0])
        if request.body.get("echo"):
            choice = _behind(choice, request)
        usage = answer.get("usage") or {}
        counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
        known = all(isinstance(count, int) and count >= 0 for count in counts)
        read, written = counts if known else (None, None)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):
        raise AttemptError("its answer is not formed as the API has it", 200, may_be_charged=True) from None
    model = str(answer.get("model") or "")
    return {"choice": choice, "model": model, "seconds": seconds, "input": read, "output": written}


def _behind(choice: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """Of an echoed prompt the log-probabilities of the tokens that reach into its scored end."""
    found = choice.get("logprobs")
    if not found or not found.get("tokens"):
        return {"logprobs": None}
    end = len(str(request.body["prompt"]))
    offsets = [int(at) for at in found["text_offset"]]
    ends = [*offsets[1:], offsets[-1] + len(found["tokens"][-1])]
    logs = zip(offsets, ends, found["token_logprobs"], strict=True)
    return {"logprobs": {"token_logprobs": [log for at, to, log in logs if at < end and to > end - request.scored]}}


def _reply(kept: Mapping[str, Any]) -> Reply:
    return Reply(kept["choice"], kept["model"], kept["seconds"], kept["input"], kept["output"])
