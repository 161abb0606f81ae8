"""The process that a ladder's runs are born from: all is imported once, and each run is a fork of it.

Importing takes some six seconds, more than a small run. A fork has the modules for nothing and is else a process like
any other: its memory is counted from what the imports take, and a kill takes nothing else down. Nothing is computed
here, so that no thread of a library's stands between the fork and its work.

Run as `python -m rung.ladder.nursery PARENT`. Reads a JSON line a run on stdin, `{"given": CONFIG.json, "log": PATH}`;
one is under way at a time. On stdout the run says `{"pid": ...}` and what runs say (see `rung.ladder.child`); then
comes `{"ended": exit code}`, as `subprocess` has it. Ends when stdin does.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import traceback

from rung.ladder import child

_WANTED = (
    *("rung.run", "transformers.models.auto", "transformers.models.llama.modeling_llama"),
    *("rung.methods.bag", "sklearn.linear_model", "sklearn.pipeline", "sklearn.preprocessing"),
)
"""What runs import, some of it late."""


def main(parent: int) -> None:
    """Import, then fork a run for each line."""
    child.die_with(parent)
    # A Ctrl-C reaches the whole terminal: the run under way takes it, and the ladder ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _WANTED:
        importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        born = os.fork()
        if not born:
            _live(asked["given"], asked["log"])
        child.speak(ended=os.waitstatus_to_exitcode(os.waitpid(born, 0)[1]))


def _live(given: str, log: str) -> None:
    """The run, in the fork; never returns."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, path, flags in ((0, os.devnull, os.O_RDONLY), (2, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)):
            opened = os.open(path, flags, 0o644)
            os.dup2(opened, number)
            os.close(opened)
        child.speak(pid=os.getpid())
        code = child.main(given, os.getppid())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]))
