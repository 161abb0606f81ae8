"""`rung judge`: which of two runs writes better, by a judge that is asked in both orders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cyclopts import App

from rung.cli import console

_COLUMNS = ("id", "score", "in_order", "swapped", "alike")

judge = App(
    name="judge",
    help_epilogue="""Examples:
  rung judge out/runs/lora-smollm2 out/runs/zero_shot-smollm2 --by openai:gpt-4.1-mini@https://api.openai.com/v1
  rung judge out/runs/lora-smollm2 out/runs/zero_shot-smollm2 --by smollm2-135m-instruct --rows 50
  rung judge a b --by smollm2-135m-instruct shows_reference=false "criteria=Which answer is kinder?" --json""",
)


@judge.default
def _judge(
    one: Path,
    other: Path,
    /,
    *overrides: str,
    by: str,
    rows: int | None = None,
    output: Path | None = None,
    json: bool = False,
) -> int:
    """Let a model compare what two runs wrote to the same test rows.

    Each pair is shown in both orders; an answer wins where it is chosen in both, anything else is a tie. An endpoint's
    answers are kept, so that asking again costs nothing.

    Args:
        one: A finished run of task generation.
        other: Another, on the same test rows.
        overrides: Settings as key=value: criteria (what the judge is told to judge by), shows_reference, endpoint.*.
        by: The judge: a decoder on this machine, or openai:MODEL@URL.
        rows: Judge the first so many test rows only.
        output: Write each row's verdict to this .jsonl file.
        json: Print the result as JSON.
    """
    from dataclasses import asdict

    from rung.cli.rows import check_output, write_rows
    from rung.config.document import Document
    from rung.config.overrides import apply_overrides
    from rung.config.validation import build
    from rung.errors import ConfigError
    from rung.run.pairwise import JudgeConfig, ask_of, judged, pairs_of, summary

    if rows is not None and rows < 1:
        raise ConfigError(f"--rows {rows}", "Give a number above 0.")
    if output is not None:
        check_output(str(output), "-")
    config = build(JudgeConfig, apply_overrides(Document({}, source="the command line"), overrides))
    pairs = pairs_of(one, other)[:rows]
    verdicts = judged(pairs, ask_of(by, config, console.echo), config.shows_reference)
    found = {"one": str(one), "other": str(other), "judge": by, **summary(verdicts)}
    if output is not None:
        write_rows(str(output), _COLUMNS, [{**asdict(row), "score": row.score} for row in verdicts], "jsonl")
    if json:
        console.print_json(found)
    else:
        console.print_result(console.table(("what", "found"), list(_lines(found))))
    return 0


def _lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    rate = found["win_rate"]
    yield "test rows", f"{found['rows']:,}"
    yield f"{found['one']} wins", f"{found['wins']:,}"
    yield f"{found['other']} wins", f"{found['losses']:,}"
    yield "ties", f"{found['ties']:,}, {found['alike']:,} of them with the same text"
    interval = f"95 % interval {rate['low']:.3f} to {rate['high']:.3f}"
    yield f"win rate of {found['one']}, ties as halves", f"{rate['value']:.3f} ({interval})"
    yield "chose the text shown first", _share(found["first_place"])
    yield "chose alike in both orders", _share(found["consistent"])


def _share(value: float | None) -> str:
    return "nothing was asked" if value is None else f"{value:.0%}"
