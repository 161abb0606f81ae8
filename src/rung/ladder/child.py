"""One rung in a process of its own: its peak memory is its own, and a kill takes nothing else down.

Run as `python -m rung.ladder.child CONFIG.json PARENT`, with the parent's process id. Speaks JSON lines on stdout:
`{"say": ...}`, `{"steps": total}`,
`{"step": ..., "loss": ..., "seconds": ..., "validation": ...}`, `{"failed": ...}`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rung.errors import RungError
from rung.run.nursery import die_with, speak

if TYPE_CHECKING:
    from rung.engine.loop import Progress


def _say(sentence: str) -> None:
    speak(say=sentence)


class _Telling:
    """Tells the parent about every step."""

    def __init__(self, total: int) -> None:
        speak(steps=total)

    def after_step(self, progress: Progress) -> None:
        """One line."""
        speak(step=progress.step, loss=progress.loss, seconds=progress.seconds, validation=progress.validation)


def main(path: str, parent: int) -> int:
    """Execute the run in a settings file.

    Args:
        path: JSON of the run's settings.
        parent: The process that started this one.

    Returns:
        0, or the error's exit code.
    """
    die_with(parent)
    from rung.run import RunConfig, execute

    given = json.loads(Path(path).read_text(encoding="utf-8"))
    try:
        execute(RunConfig.model_validate(given), given, watch=_Telling, say=_say, tell_data=False)
    except RungError as error:
        speak(failed=str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
