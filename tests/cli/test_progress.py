from __future__ import annotations

import io

from rich.console import Console

from rung.cli.progress import TrainingProgress
from rung.engine.loop import Progress


def test_ten_lines_where_there_is_no_terminal(capsys):
    with TrainingProgress(Console(file=io.StringIO())) as watch:
        hook = watch(25)
        for step in range(1, 26):
            hook.after_step(Progress(step=step, loss=0.5, seconds=step))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "  step 3 of 25, loss 0.500, 3 s"
    assert lines[-1] == "  step 25 of 25, loss 0.500, 25 s"
    assert len(lines) == 9


def test_a_line_tells_what_was_scored_since_the_last(capsys):
    with TrainingProgress(Console(file=io.StringIO())) as watch:
        hook = watch(20)
        found = {"loss": 1.25, "perplexity": 3.49, "exact_match": 0.5, "token_f1": 0.625, "share_cut": 0}
        for step in range(1, 7):
            scored = found if step == 3 else None
            hook.after_step(Progress(step=step, loss=0.5, seconds=step, validation=scored))
    assert capsys.readouterr().err.splitlines() == [
        "  step 2 of 20, loss 0.500, 2 s",
        "  step 4 of 20, loss 0.500, validation loss 1.250, exact match 0.500, token f1 0.625, 4 s",
        "  step 6 of 20, loss 0.500, 6 s",
    ]


def test_a_bar_on_a_terminal():
    stream = io.StringIO()
    with TrainingProgress(Console(file=stream, force_terminal=True, width=100)) as watch:
        hook = watch(2)
        hook.after_step(Progress(step=1, loss=0.5))
        hook.after_step(Progress(step=2, loss=0.25))
    assert "training, loss 0.250" in stream.getvalue()
    assert "2/2" in stream.getvalue()
