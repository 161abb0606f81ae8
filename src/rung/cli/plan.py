"""`rung plan`: what a run or a ladder will take, before any of it is spent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclopts import App

from rung.cli import console
from rung.cli.forking import nothing_computed
from rung.cli.settings import read_settings

plan = App(
    name="plan",
    help_epilogue="""Examples:
  rung plan run.yaml
  rung plan run.yaml training.per_device_train_batch_size=32 --no-probe
  rung plan sms.csv
  rung plan spam.yaml --json""",
)


@plan.default
def _plan(source: str, /, *overrides: str, no_probe: bool = False, json: bool = False) -> int:
    """Say what a run, or each rung of a ladder, will take: tokens, arithmetic, memory, disk, time.

    Memory is worked out from shapes and lengths; time from a few real steps on weights that are thrown away.

    Args:
        source: A settings file (.yaml, .toml), a data file, or the first key=value. With a method it is a run, else a
            ladder.
        overrides: Settings as key=value; they win over the file.
        no_probe: Make no step: no seconds and no measured memory.
        json: Print the plan as JSON.
    """
    given = read_settings(source, overrides)
    forks = nothing_computed()
    planned = (_run if "method" in given else _ladder)(given, not no_probe, forks)
    if json:
        console.print_json(planned)
    elif "rungs" in planned:
        _print_ladder(planned)
    else:
        _print_run(planned)
    return 0


def _run(given: Mapping[str, Any], timed: bool, forks: bool) -> dict[str, Any]:
    from rung.config.validation import build
    from rung.run import RunConfig
    from rung.run.probe import plan_in_process
    from rung.run.process import forked

    config = build(RunConfig, given)
    with forked(forks) as nursery:
        return plan_in_process(config, timed, nursery)


def _ladder(given: Mapping[str, Any], timed: bool, forks: bool) -> dict[str, Any]:
    from rung.config.validation import build
    from rung.ladder.forecast import plan_ladder
    from rung.ladder.plan import LadderConfig
    from rung.run.process import forked

    config = build(LadderConfig, given)
    with forked(forks) as nursery:
        return plan_ladder(config, timed, console.echo, nursery)


def _print_run(planned: Mapping[str, Any]) -> None:
    from rung.ladder.units import count, seconds, size

    found, spent = planned["forecast"], planned["seconds"]
    rows = [("rows", " + ".join(f"{number:,} {name}" for name, number in planned["rows"].items()))]
    if found is not None:
        rows += [
            ("tokens in a pass", f"{found['tokens']:,}, longest row {found['longest_row']:,}"),
            ("of these distinct", f"{found['distinct_tokens']:,} (beginnings shared in a micro-batch count once)"),
            ("supervised positions", f"{found['supervised_positions']:,}"),
            ("steps", f"{found['steps']:,} ({found['epochs']:.3g} passes)"),
            ("arithmetic", f"{count(found['flops'])} FLOPs"),
            ("parameters", f"{count(found['parameters'])}, {count(found['trainable_parameters'])} trained"),
            ("memory", _parts(found["memory"])),
            ("gradient checkpointing", "yes" if found["gradient_checkpointing"] else "no"),
            ("memory of this machine", size(found["memory_limit_bytes"])),
            ("disk", f"{size(found['checkpoint_bytes'])} while it runs, {size(found['artifact_bytes'])} in the end"),
        ]
    elif planned["memory_peak_bytes"] is not None:
        rows.append(("memory", size(planned["memory_peak_bytes"])))
    if spent is not None:
        rows.append(("memory of the probe", size(planned["measured_peak_bytes"])))
        rows += [(_WORDS[name], seconds(value)) for name, value in spent.items()]
    console.print_result(console.table((planned["name"], "expected"), rows))
    for note in planned["notes"]:
        console.print_result(f"! {note}")


_WORDS = {
    "data": "reading the data",
    "loading": "loading the model",
    "tokenising": "tokenising",
    "search": "choosing the prompt",
    "features": "features of the frozen body",
    "step": "one step",
    "training": "all steps",
    "saving": "checkpoints",
    "validation": "scoring validation",
    "test": "scoring test",
    "requests": "timed requests, golden rows",
    "forgetting": "measuring forgetting",
    "total": "total time",
}


def _parts(memory: Mapping[str, int]) -> str:
    from rung.ladder.units import size

    parts = ", ".join(f"{name} {size(value)}" for name, value in memory.items() if value and name != "peak")
    return f"{size(memory['peak'])} ({parts})"


def _print_ladder(planned: Mapping[str, Any]) -> None:
    from rung.ladder.units import NOTHING, count, seconds, size

    columns = ("rung", "rows", "tokens", "steps", "FLOPs", "memory", "disk", "time")
    rows, notes = [], []
    for one in planned["rungs"]:
        if "refused" in one:
            notes.append(f"{one['name']}: {one['refused']}")
            continue
        found, spent = one["forecast"], one["seconds"]
        training, disk = [NOTHING] * 4, None
        if found is not None:
            training = [f"{one['rows']['train']:,}", count(found["distinct_tokens"])]
            training += [f"{found['steps']:,}", count(found["flops"])]
            disk = found["checkpoint_bytes"] + found["artifact_bytes"]
        total = None if spent is None else spent["total"]
        name = one["name"] if one["seeds"] == 1 else f"{one['name']} (each of {one['seeds']} seeds)"
        rows.append((name, *training, size(one["memory_peak_bytes"]), size(disk), seconds(total)))
        notes += [f"{one['name']}: {note}" for note in one["notes"]]
    console.print_result(console.table(columns, rows, right=columns[1:]))
    if planned["seconds"] is not None:
        console.print_result(f"Total time: {seconds(planned['seconds'])}")
    for note in notes:
        console.print_result(f"! {note}")
