"""Signals to a process of its own: the exit code, and an end whatever the process is at."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import sys, time
from rung.cli import stopping
stopping.GRACE_SECONDS = {grace}
try:
    with stopping.stoppable():
        try:
            print("ready", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            {then}
except stopping.StoppedError as stop:
    sys.exit(stop.exit_code)
"""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def start(then: str, grace: float = 60.0) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(then=then, grace=grace)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("sent", CODES, ids=lambda sent: sent.name)
def test_a_signal_ends_the_command_with_the_code_that_shells_give_it(sent: signal.Signals) -> None:
    with start("raise") as process:
        process.send_signal(sent)
        assert process.wait(30) == CODES[sent]


@pytest.mark.parametrize("sent", CODES, ids=lambda sent: sent.name)
def test_a_second_signal_ends_the_process_at_once(sent: signal.Signals) -> None:
    with start("print('cleaning', flush=True); time.sleep(60)") as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "cleaning\n"
        process.send_signal(sent)
        assert process.wait(30) == CODES[sent]


def test_an_interrupt_that_gets_lost_ends_the_process_all_the_same() -> None:
    with start("time.sleep(60)", grace=0.2) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143


def test_handlers_are_as_before_once_the_command_is_done() -> None:
    from rung.cli.stopping import SIGNALS, stoppable

    before = [signal.getsignal(number) for number in SIGNALS]
    with stoppable():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
