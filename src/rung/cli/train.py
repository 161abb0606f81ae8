"""`rung train`: one run."""

from __future__ import annotations

from cyclopts import App

from rung.cli import console
from rung.cli.progress import TrainingProgress
from rung.cli.settings import read_settings

train = App(
    name="train",
    help_epilogue="""Examples:
  rung train run.yaml
  rung train run.yaml method.r=16 training.learning_rate=1e-4 output_dir=out/r16
  rung train data.train=sms.csv model=minilm-l6 method=head_only
  rung train run.yaml --find-lr
  rung train run.yaml --fresh
  rung train run.yaml training.num_train_epochs=5 --accept training.num_train_epochs""",
)


@train.default
def _train(source: str, /, *overrides: str, fresh: bool = False, accept: str = "", find_lr: bool = False) -> int:
    """Train (or prompt) one model with one method, and write the run's folder.

    The same command goes on where it was stopped, to the same bytes.

    Args:
        source: A settings file (.yaml, .toml), a data file, or the first key=value.
        overrides: Settings as key=value; they win over the file.
        fresh: Start anew instead of going on.
        accept: Go on though these settings changed (names, commas between); run.json records it.
        find_lr: First look for the peak learning rate on validation rows: 8 short trials, kept in find_lr.json.
    """
    given = read_settings(source, overrides)

    from rung.config.validation import build
    from rung.run import RunConfig, execute, find_learning_rate

    config = build(RunConfig, given)
    names = [name.strip() for name in accept.split(",") if name.strip()]
    with TrainingProgress() as progress:
        if find_lr:
            config = find_learning_rate(config, fresh=fresh, accept=names, watch=progress.brief, say=progress.say)
            fresh = False
        folder = execute(config, given, fresh=fresh, accept=names, watch=progress, say=progress.say)
    console.print_result(str(folder))
    return 0
