"""`rung climb`: the whole ladder, and its answer."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from rung.cli import console
from rung.cli.forking import nothing_computed
from rung.cli.progress import TrainingProgress
from rung.cli.settings import read_settings

climb = App(
    name="climb",
    help_epilogue="""Examples:
  rung climb sms.csv
  rung climb sms.csv --budget 5m output_dir=out/sms
  rung climb spam.yaml margin=0.01 models=[minilm-l6] methods+=full
  rung climb spam.yaml --fresh""",
)

_BARE_BUDGET = "budget=15m"


@climb.default
def _climb(source: str, /, *overrides: str, budget: str | None = None, fresh: bool = False) -> int:
    """Run the rungs on the same rows, cheapest first, and name the lowest sufficient one.

    The same command goes on where it was stopped. A data file alone needs no settings: the task and its columns are
    inferred, and said.

    Args:
        source: A settings file (.yaml, .toml), or the data itself (.csv, .tsv, .jsonl, .json, .parquet, a folder).
        overrides: Settings as key=value; they win over the file.
        budget: Stop starting rungs after this long: 90s, 15m, 2h. Short for budget=...
        fresh: Start anew instead of going on.
    """
    words = [*overrides, *([f"budget={budget}"] if budget is not None else [])]
    given = read_settings(source, words, defaults=[] if _sets_budget(words) else [_BARE_BUDGET])

    forks = nothing_computed()
    from rung.config.validation import build
    from rung.ladder.climb import climb as run_ladder
    from rung.ladder.plan import LadderConfig
    from rung.ladder.table import terminal
    from rung.run.process import Nursery

    config = build(LadderConfig, given)
    nursery = Nursery() if forks else None
    with TrainingProgress() as progress:
        report = run_ladder(config, given, fresh=fresh, echo=progress.say, watch=progress, nursery=nursery)
    console.print_result(terminal(report, console.width()))
    console.print_result(f"Report: {Path(config.output_dir) / 'report.html'}")
    return 0


def _sets_budget(words: list[str]) -> bool:
    return any(word.split("=", 1)[0].strip() == "budget" for word in words)
