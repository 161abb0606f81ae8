"""The ledger of requests: what was sent, what was answered, what may have been charged for nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rung.endpoints.settings import Prices
from rung.engine import fsio
from rung.errors import ArtifactError

Event = Literal["sent", "answered", "refused", "unreached", "lost"]


@dataclass(slots=True)
class Totals:
    """Sums over the requests of a run, all its starts together.

    Attributes:
        sent: Tries that went out.
        answered: Tries that were answered: each is charged, once.
        cached: Answers taken from the cache, since this start: they cost nothing.
        refused: Tries that the server refused (429, 500, ...): not charged.
        unreached: Tries that found no server: not charged.
        possibly_charged: Tries whose answer was lost (timed out, cut off, garbled, or the run was killed): the server
            may have done the work and charge for it. Not among `answered`, nor in the tokens and the money.
        input_tokens: Read by the server for what it answered, as it says itself.
        output_tokens: Written by it, as it says itself.
        without_usage: Answers for which it did not say; they are in no sum of tokens or money.
    """

    sent: int = 0
    answered: int = 0
    cached: int = 0
    refused: int = 0
    unreached: int = 0
    possibly_charged: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    without_usage: int = 0


class Spending:
    """Counts requests as they happen, in a journal that outlives a kill.

    A try is noted before it goes out and when its end is known. What was sent and has no end, because the process was
    killed, is looked up in the cache: the answer is there, or it was lost.

    Args:
        journal: The file; None counts in memory alone.
        run: Whose requests these are: lines of others in the file are left alone.
        kept: Given a request's key, the usage of its answer if the cache has it (see `Client.usage`), else None.
    """

    def __init__(
        self, journal: Path | None = None, run: str = "", kept: Callable[[str], Mapping[str, Any] | None] | None = None
    ) -> None:
        self._journal = journal
        self._run = run
        self._lock = threading.Lock()
        self._totals = Totals()
        if journal is not None and journal.exists():
            self._take_up(journal, kept or (lambda _: None))

    def note(self, key: str, number: int, event: Event, **usage: Any) -> None:
        """Note what became of a try.

        Args:
            key: The request's.
            number: Which try it is, from 0.
            event: What happened; `lost` = its answer did not arrive, and may be charged.
            **usage: `input` and `output` tokens of an answer; None = the server does not say.
        """
        with self._lock:
            if self._journal is not None:
                line = {"run": self._run, "key": key, "try": number, "event": event, **usage}
                fsio.append_line(self._journal, json.dumps(line))
            self._count(event, usage)

    def cached(self) -> None:
        """Count an answer that came from the cache."""
        with self._lock:
            self._totals.cached += 1

    @property
    def totals(self) -> Totals:
        """The sums so far."""
        with self._lock:
            return Totals(**asdict(self._totals))

    def as_dict(self, prices: Prices | None) -> dict[str, Any]:
        """The sums as `cost.json` holds them, with the money they come to where there are prices."""
        found = self.totals
        money = None if prices is None else prices.of(found.input_tokens, found.output_tokens)
        return {**asdict(found), "money": money, "prices": None if prices is None else prices.model_dump()}

    def _count(self, event: Event, usage: Mapping[str, Any]) -> None:
        totals = self._totals
        if event == "sent":
            totals.sent += 1
        elif event == "refused":
            totals.refused += 1
        elif event == "unreached":
            totals.unreached += 1
        elif event == "lost":
            totals.possibly_charged += 1
        else:
            totals.answered += 1
            if usage["input"] is None or usage["output"] is None:
                totals.without_usage += 1
            else:
                totals.input_tokens += usage["input"]
                totals.output_tokens += usage["output"]

    def _take_up(self, journal: Path, kept: Callable[[str], Mapping[str, Any] | None]) -> None:
        """Count what earlier starts of this run noted, and settle the tries that a kill left open."""
        open_tries: dict[tuple[str, int], bool] = {}
        for line in _lines(journal):
            if line["run"] != self._run:
                continue
            self._count(line["event"], {"input": line.get("input"), "output": line.get("output")})
            open_tries[line["key"], line["try"]] = line["event"] == "sent"
        for (key, number), is_open in open_tries.items():
            if is_open:
                usage = kept(key)
                if usage is None:
                    self.note(key, number, "lost")
                else:
                    self.note(key, number, "answered", **usage)


def _lines(journal: Path) -> list[dict[str, Any]]:
    """The journal's lines; a last one that a power cut left half-written says nothing, and is cut off."""
    *whole, rest = journal.read_text(encoding="utf-8").split("\n")
    if rest:
        fsio.keep_lines(journal, len(whole))
    try:
        return [json.loads(line) for line in whole]
    except ValueError as error:
        raise ArtifactError(f"{journal} is damaged: {error}", "Run again with --fresh.") from error
