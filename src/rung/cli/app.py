"""The entry point: finds the verb, and turns what went wrong into words and an exit code."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter, UnknownOptionError

from rung.cli.chat import chat
from rung.cli.climb import climb
from rung.cli.console import print_error
from rung.cli.data import data
from rung.cli.doctor import doctor
from rung.cli.eval import evaluate
from rung.cli.judge import judge
from rung.cli.models import models
from rung.cli.plan import plan
from rung.cli.predict import predict
from rung.cli.report import report
from rung.cli.schema import config_schema
from rung.cli.stopping import StoppedError, stoppable
from rung.cli.train import train
from rung.errors import RungError

BUG = 1
"""Exit code after an error that is ours."""
USAGE = 2
"""Exit code after a command line that can't be read."""

_ABOUT = """Run every way of adapting a pretrained language model on your data, and name the lowest sufficient rung.

Settings follow the file as key=value: training.learning_rate=1e-4 method.r=8"""

_EXAMPLES = """Examples:
  rung climb sms.csv                which rung is enough for these rows?
  rung train run.yaml method.r=16   one run
  rung plan run.yaml                what will it take?
  rung predict out in.csv -o answers.csv
  rung climb --help                 more on one command"""


def _version() -> str:
    from rung import __version__

    return __version__


app = App(
    name="rung",
    help=_ABOUT,
    help_epilogue=_EXAMPLES,
    help_format="plaintext",
    version=_version,
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
for _command in (climb, train, plan, data, evaluate, judge, predict, chat, report, models, doctor, config_schema):
    app.command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The words after `rung`; None: those of this process.

    Returns:
        The exit code: 0, what the command returned, or what its error says.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with stoppable():
            returned = app(words, exit_on_error=False, print_error=False)
            sys.stdout.flush()
        return returned if isinstance(returned, int) else 0
    except CycloptsError as error:
        print_error(_usage(error))
        return USAGE
    except RungError as error:
        _show_traceback()
        print_error(str(error))
        return error.exit_code
    except StoppedError as stop:
        _show_traceback()
        print_error(f"stopped. Finished work is kept; the same command goes on: {shlex.join(['rung', *words])}", "")
        return stop.exit_code
    except BrokenPipeError:
        # The reader (`head`, a pager) has left; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not _show_traceback():
            print_error(f"{type(error).__name__}: {error}\n  This is a fault of Rung's. RUNG_DEBUG=1 shows where.")
        return BUG


def _usage(error: CycloptsError) -> str:
    message = str(error)
    if isinstance(error, UnknownOptionError):
        message += "\n  Settings are given without dashes: training.learning_rate=1e-4."
    return message


def _show_traceback() -> bool:
    """Print the traceback when `RUNG_DEBUG` asks for it; whether it did."""
    wanted = os.environ.get("RUNG_DEBUG", "") not in {"", "0"}
    if wanted:
        traceback.print_exc()
    return wanted
