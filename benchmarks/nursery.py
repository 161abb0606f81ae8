"""The process that a module's measurements are born from: it has imported what they need, and each is a fork of it.

A peer's libraries take six to ten seconds to import, for a measurement of often less. A fork has them for nothing; its
peak memory is its own, from what the imports take. Nothing is computed here, so no thread of a library's stands between
a fork and its work.

Run as `python -m benchmarks.nursery MODULE FOLDER`. Reads a JSON line a measurement on stdin, `{"name": ...}`, whose
spec, answer and log are files of the folder; writes `{"pid": ...}` on stdout, then `{"ended": exit code}`. Ends when
stdin does.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path

from benchmarks.measure import measure

LATE = ("transformers.models.llama.modeling_llama", "transformers.models.bert.modeling_bert")
"""What transformers imports when a model of the benches is opened."""


def main(module: str, folder: Path) -> None:
    """Import, then fork a measurement for each line."""
    with contextlib.suppress(Exception):  # each fork meets it again, and tells it in its log
        import_module(f"benchmarks.{module}")
        if "transformers" in sys.modules:
            for name in LATE:
                import_module(name)
    gc.freeze()
    for line in sys.stdin:
        name = json.loads(line)["name"]
        born = os.fork()
        if not born:
            _live(*(folder / f"{name}.{kind}" for kind in ("spec", "answer", "log")))
        _tell(pid=born)
        _tell(ended=os.waitstatus_to_exitcode(os.waitpid(born, 0)[1]))


def _tell(**what: int) -> None:
    print(json.dumps(what), flush=True)


def _live(asked: Path, answer: Path, log: Path) -> None:
    """The measurement, in the fork; never returns."""
    code = 1
    try:
        os.setsid()
        with log.open("wb") as sink, Path(os.devnull).open("rb") as nothing:
            for number, file in ((0, nothing), (1, sink), (2, sink)):
                os.dup2(file.fileno(), number)
        measure(asked, answer)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
