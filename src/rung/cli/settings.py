"""From the words after a verb to settings: a settings file, a data file, or settings alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rung.cli.console import echo
from rung.config.document import COMMAND_LINE, Document
from rung.config.loading import is_settings_file, load_config
from rung.config.overrides import apply_overrides, is_override


def read_settings(source: str, overrides: Sequence[str], defaults: Sequence[str] = ()) -> Document:
    """The settings that a command line asks for.

    Args:
        source: A settings file; or a data file (or folder, or hub id), which stands for `data.train`; or the first
            `key=value` when there is no file.
        overrides: `key=value` words.
        defaults: `key=value` words that a bare data file gets, before the overrides.

    Raises:
        ConfigError: The file or a word can't be read.
    """
    if is_settings_file(source):
        return apply_overrides(load_config(source), overrides)
    if is_override(source) and not Path(source).exists():
        return apply_overrides({}, [source, *overrides])
    if defaults:
        echo(f"{source} is data: the defaults apply, with {', '.join(defaults)}.")
    bare = Document({"data": {"train": source}}, source=COMMAND_LINE)
    return apply_overrides(apply_overrides(bare, defaults), overrides)
