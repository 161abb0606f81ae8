"""What growing leaves: the rows, the rejected ones, and a report whose numbers add up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rung.engine import fsio
from rung.synth.asking import Desk
from rung.synth.filters import REASONS
from rung.synth.outcome import Outcome
from rung.synth.settings import SynthConfig

ROWS = "instructions.jsonl"
REJECTED = "rejected.jsonl"
REPORT = "report.json"


def report(
    config: SynthConfig, outcome: Outcome, desk: Desk, ended: tuple[int, str], origin: Mapping[str, Any]
) -> dict[str, Any]:
    """What `report.json` holds.

    Args:
        config: The settings.
        outcome: Where proposals went.
        desk: What was asked, and what it took.
        ended: Rounds begun, and why there was no further one.
        origin: What else decides the rows: files, machine.
    """
    used = desk.used
    return {
        "wanted": config.wanted,
        "accepted": len(outcome.accepted),
        "proposed": outcome.proposals,
        "rejected": outcome.reasons,
        "surplus": outcome.surplus,
        "rounds": ended[0],
        "stopped_by": ended[1],
        "asked": used.requests,
        "tokens_read": used.read,
        "tokens_written": used.written,
        "seconds": used.seconds,
        "money": desk.money,
        "style": desk.model.style,
        "settings": config.model_dump(mode="json"),
        **origin,
    }


def write(folder: Path, outcome: Outcome, body: Mapping[str, Any]) -> None:
    """Write the rows, the rejected ones and the report, each whole or not at all; the report last."""
    fsio.write_text(folder / ROWS, _lines(one.row() for one in outcome.accepted))
    fsio.write_text(folder / REJECTED, _lines(outcome.rejected))
    fsio.write_json(folder / REPORT, body)


def sentence(body: Mapping[str, Any]) -> str:
    """How it ended, in words."""
    accepted, wanted, stopped = body["accepted"], body["wanted"], body["stopped_by"]
    if stopped == "wanted":
        return f"{accepted:,} rows accepted of {body['proposed']:,} proposed."
    return (
        f"Stopped by {stopped}: {accepted:,} of {wanted:,} wanted rows are accepted. The same command with a higher "
        "limit goes on."
    )


def lines(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The report as a table: what, and how much."""
    money = body["money"]
    return [
        ("requests", f"{body['asked']:,}"),
        ("proposed", f"{body['proposed']:,}"),
        ("accepted", f"{body['accepted']:,}"),
        *((f"rejected: {REASONS[reason]}", f"{count:,}") for reason, count in body["rejected"].items()),
        ("more than was wanted", f"{body['surplus']:,}"),
        ("tokens read", f"{body['tokens_read']:,}"),
        ("tokens written", f"{body['tokens_written']:,}"),
        ("seconds of the model", f"{body['seconds']:,.1f}"),
        *([] if money is None else [("money, by endpoint.prices", f"{money:.4g}")]),
    ]


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
