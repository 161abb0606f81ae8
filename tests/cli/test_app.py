from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rung.cli.app import app, main

SNAPSHOTS = Path(__file__).parent / "snapshots"
SRC = Path(__file__).parents[2] / "src"
COMMANDS = (
    *("climb", "train", "plan", "data", "data check", "data show", "data synth", "data template", "eval", "judge"),
    *("predict", "chat", "report", "models", "models path", "doctor", "config-schema"),
)
START = "import sys; from rung.cli.app import main; sys.exit(main())"


def process(*words: str, **kwargs) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START, *words],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_as_recorded(command, capsys, monkeypatch):
    """`RUNG_SNAPSHOTS=write pytest tests/cli/test_app.py` records it anew."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    assert main([*command.split(), "--help"]) == 0
    shown = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines()) + "\n"
    snapshot = SNAPSHOTS / f"{command.replace(' ', '_') or 'rung'}.txt"
    if os.environ.get("RUNG_SNAPSHOTS") == "write":
        snapshot.parent.mkdir(exist_ok=True)
        snapshot.write_text(shown, encoding="utf-8")
    assert shown == snapshot.read_text(encoding="utf-8")
    assert f"Examples:\n  rung {command}".rstrip() in shown


def test_every_command_has_a_recorded_help():
    named = {name for name in app if not name.startswith("-")}
    assert named == {command for command in COMMANDS if " " not in command}


def test_version(capsys):
    from rung import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clmb", "a.csv"], 'Unknown command "clmb". Did you mean "climb"?'),
        (["climb", "a.csv", "--budgt", "3m"], "Unknown option: --budgt. Did you mean --budget?"),
        (["climb", "a.csv", "--learning-rate", "1"], "Settings are given without dashes: training.learning_rate=1e-4."),
        (["predict", "out"], 'Command "predict" parameter DATA requires an argument.'),
        (["predict", "out", "in.csv", "--format", "xml"], 'Invalid value "xml" for --format.'),
        (["report"], "no folder is given.\n  Name a ladder's folder or several runs: rung report out."),
        (["report", "out", "--json", "--markdown"], "--json and --markdown: both are given.\n  Choose one."),
        (["report", "/"], "/: no run.json and no ladder.json.\n  Name the folder of a run or a ladder."),
        (["train", "/absent/run.yaml"], "/absent/run.yaml: no such file.\n  Give the path of a settings file."),
        (["train", "a=1", "b"], "'b' is not an override: it has no '='."),
        (["train", "a.csv", "r=010"], "command line:1:1: 010 could be octal or decimal: write 10 for the number"),
        (["train", "a.csv", "x[=1"], "'x[=1' is not an override: 'x[' is not a path of keys."),
        (["eval", "out", "/absent/in.csv"], "/absent/in.csv: no such file, and no folder /absent"),
        (
            ["predict", "out", "in.csv", "-o", "out.xlsx"],
            "--output out.xlsx: predictions are written as .csv or .jsonl.",
        ),
    ],
)
def test_mistakes_are_named_without_a_traceback(words, message, capsys):
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert "Traceback" not in shown.err


def test_a_broken_settings_file_names_its_line(tmp_path: Path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text("data: {train: a.csv}\ndata: {train: b.csv}\n")
    assert main(["climb", str(path)]) == 2
    assert capsys.readouterr().err == f"error: {path}:2:1: 'data' is given twice, first on line 1.\n"


def test_an_unknown_setting_names_its_line_and_its_nearest_match(tmp_path: Path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text("data: {train: a.csv}\nmethod: tfidf\ntraining:\n  learning_rte: 1e-4\n")
    assert main(["train", str(path)]) == 2
    assert capsys.readouterr().err.startswith(
        f"error: {path}:4: training.learning_rte=0.0001: unknown key. Did you mean learning_rate? Allowed: "
    )


def test_debug_shows_the_traceback(capsys, monkeypatch):
    monkeypatch.setenv("RUNG_DEBUG", "1")
    assert main(["train", "/absent/run.yaml"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last):")
    assert "error: /absent/run.yaml: no such file." in shown


def test_control_characters_in_a_mistake_do_not_reach_the_terminal(capsys):
    assert main(["train", "a=1", "\x1b]0;owned\x07\x1b[31mb"]) == 2
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_markup_in_a_mistake_is_shown_as_typed(capsys):
    assert main(["train", "a=1", "[red]b[/red]"]) == 2
    assert "'[red]b[/red]' is not an override" in capsys.readouterr().err


def test_an_interrupt_says_how_to_go_on(tmp_path: Path):
    pipe = tmp_path / "run.yaml"
    os.mkfifo(pipe)
    running = process("climb", str(pipe), "margin=0.01", "output_dir=a b")
    with pipe.open("w"):  # returns once the command reads the pipe, and so is under way
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert out == ""
    assert err == (
        f"stopped. Finished work is kept; the same command goes on: rung climb {pipe} margin=0.01 'output_dir=a b'\n"
    )


def test_a_reader_that_leaves_is_no_error():
    with process("--help") as running:
        assert running.stdout is not None
        running.stdout.close()
        assert running.stderr is not None
        assert running.stderr.read() == ""
    assert running.returncode in (0, 1)
