"""The process that runs are born from: all is imported once, and each run, or plan of one, is a fork of it.

Importing takes some five seconds, more than a small run. A fork has the modules for nothing and is else a process like
any other: its memory is counted from what the imports take, and a kill takes nothing else down. Nothing is computed
here, so that no thread of a library's stands between the fork and its work.

Run as `python -m rung.run.nursery PARENT`, or itself a fork of a command that has computed nothing yet (`born`). Reads
a JSON line a run on stdin, `{"module": ..., "words": [...], "log": PATH}`, and calls the module's `main` with the words
and the process id of its parent; one is under way at a time. On stdout the run says `{"pid": ...}` and what runs say;
then comes `{"ended": exit code}`, as `subprocess` has it. Ends when stdin does.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

_WANTED = (
    *("rung.run", "transformers.models.auto", "transformers.models.llama.modeling_llama"),
    *("rung.methods.bag", "sklearn.linear_model", "sklearn.pipeline", "sklearn.preprocessing"),
)
"""What runs import, some of it late."""
_PR_SET_PDEATHSIG = 1


def speak(**message: Any) -> None:
    """Say something to who started this process: one line of JSON."""
    print(json.dumps(message), flush=True)


def die_with(parent: int) -> None:
    """End when the parent does. A ladder that was killed must not leave rungs running (Linux can be asked for that)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(1)


def born(asks: int, says: int, others: Sequence[int], parent: int) -> None:
    """Serve as a fork of a command.

    Args:
        asks: File descriptor to read from.
        says: File descriptor to write to.
        others: Those of the command's ends: while this process held them, it would never see the end of its stdin.
        parent: Process id of the command.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What tells the command of its own signals is shared with it until now.
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.SIG_DFL)
    for descriptor in others:
        os.close(descriptor)
    os.dup2(asks, 0)
    os.dup2(says, 1)
    sys.stdin, sys.stdout = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
    serve(parent)


def serve(parent: int) -> None:
    """Import, then fork a run for each line."""
    die_with(parent)
    # A Ctrl-C reaches the whole terminal: the run under way takes it, and the ladder ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _WANTED:
        importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        run = os.fork()
        if not run:
            _live(asked["module"], asked["words"], asked["log"])
        speak(ended=os.waitstatus_to_exitcode(os.waitpid(run, 0)[1]))


def _live(module: str, words: Sequence[str], log: str) -> None:
    """The run, in the fork; never returns."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, path, flags in ((0, os.devnull, os.O_RDONLY), (2, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)):
            opened = os.open(path, flags, 0o644)
            os.dup2(opened, number)
            os.close(opened)
        speak(pid=os.getpid())
        code = importlib.import_module(module).main(*words, os.getppid())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
