"""A command's own fork: signals meant for the command leave it alone, and it ends with the command."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

from rung.run.process import FORKS

BEGIN = """
import signal, sys
signal.signal(signal.SIGHUP, signal.{hangup})
from rung.run.process import Nursery
nursery = Nursery()
print(nursery.process._process.pid, flush=True)
sys.stdin.read()
nursery.close()
"""


@pytest.mark.skipif(not FORKS, reason="this system starts a process anew for each run")
@pytest.mark.parametrize(("hangup", "lives"), [("SIG_IGN", True), ("SIG_DFL", False)], ids=["nohup", "terminal"])
def test_signals_reach_a_fork_as_they_reach_its_command(hangup: str, lives: bool) -> None:
    words = [sys.executable, "-c", BEGIN.format(hangup=hangup)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdin is not None and command.stdout is not None
        nursery = psutil.Process(int(command.stdout.readline()))
        time.sleep(0.5)  # until it has settled its signals
        for number in (signal.SIGINT, signal.SIGHUP):
            nursery.send_signal(number)
            time.sleep(0.2)
            assert (nursery.is_running() and nursery.status() != psutil.STATUS_ZOMBIE) == (
                lives or number == signal.SIGINT
            )
        if lives:
            command.kill()
            assert not psutil.wait_procs([nursery], timeout=10)[1]
        else:
            command.stdin.close()
        assert command.wait(timeout=30) == (-signal.SIGKILL if lives else 0)
