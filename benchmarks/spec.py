"""What is measured: one child process each, and the benches made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Spec:
    """One measurement: a function run in a process of its own.

    Attributes:
        name: Its place in tables and file names: `bench.side` or `bench.peer.step`.
        run: `module:function` inside this package; takes `args`, returns the result's own keys (see README.md).
        args: JSON values handed to the function, and part of the result's key.
        note: The settings in words, as the table of the ladder shows them.
        timeout: Seconds after which the process is ended and the measurement recorded as timed out.
        env: Environment variables besides the parent's.
        packages: Requirements laid over the environment for this process alone (an older release of a peer).
        excluded: Why a step of a ladder is published and yet not what we compare with; empty = it may be the best.
    """

    name: str
    run: str
    args: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    timeout: int = 300
    env: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    excluded: str = ""

    def called(self, name: str, **args: Any) -> Spec:
        """The same under another name, with other arguments."""
        return replace(self, name=name, args={**self.args, **args})


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a bench compares with.

    Attributes:
        title: As the table names it.
        ladder: Its settings, each measured once on few rows; all are published, the fastest is compared with.
        rows: Arguments that the interleaved runs have in place of the ladder's.
        target: Ratio of rows a second to reach, or None.
        memory_target: Ratio of peak memory not to exceed, or None.
    """

    title: str
    ladder: tuple[Spec, ...]
    rows: Mapping[str, Any] = field(default_factory=dict)
    target: float | None = None
    memory_target: float | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """Rung and its peers on the same rows: ladders first, then all sides in turn, `repeats` times.

    Attributes:
        name: What `make bench BENCH=name` takes.
        title: What is trained or scored, in words.
        ours: Rung.
        peers: Whom it is compared with.
        unit: What is counted a second.
        repeats: Rounds of the interleaving.
        mfu_target: Utilisation by distinct tokens to reach, or None.
        agree: Key of the results that must be equal on both sides (the choices made), or empty.
    """

    name: str
    title: str
    ours: Spec
    peers: tuple[Peer, ...]
    unit: str = "rows/s"
    repeats: int = 3
    mfu_target: float | None = None
    agree: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """Measurements without a peer (growth curves).

    Attributes:
        name: What `make bench BENCH=name` takes.
        title: What is shown, in words.
        specs: The measurements.
        render: `module:function` inside this package: the results by name, in order, to lines of markdown.
    """

    name: str
    title: str
    specs: Sequence[Spec]
    render: str


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. `SMOKE` proves that everything runs; its numbers mean nothing.

    Attributes:
        ladder: Timed rows of a ladder's step.
        rows: Timed rows of an interleaved run.
        warmup: Rows of the first step, which nobody's time counts.
        held_out: Rows of the final loss.
        batch: Rows of a step.
        repeats: Rounds of the interleaving.
        smoke: Whether results go where no report looks.
    """

    ladder: int = 48
    rows: int = 48
    warmup: int = 16
    held_out: int = 16
    batch: int = 16
    repeats: int = 3
    smoke: bool = False


SMOKE = Size(ladder=4, rows=4, warmup=2, held_out=2, batch=2, repeats=1, smoke=True)
