"""Templates on a user's own rows, before a mixture is made of them: a preview, and a file of their own to edit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from rung.config.loading import is_settings_file
from rung.data.mixture.roles import find_roles
from rung.data.mixture.showing import Shower, shower_of
from rung.data.mixture.template_file import TemplateConfig, library_path, library_types, load_templates
from rung.data.readers import Table
from rung.errors import ConfigError, DataError, StorageError, unknown
from rung.types import Record

_HEAD = """\
# Templates for `templates:` in a mixture. Edit them, then look at them again: rung data template THIS_FILE DATA
#
# prompt and answer are Jinja over the roles{choices}.
# inverted: true marks a template that asks for an input, given the answer.
"""
_CHOICES = ", and over choices (a list), either (a, b or c), bullets, lettered and letter"


def template_path(name: str) -> str:
    """The file that a type of the library, or the path of a user's own file, stands for.

    Raises:
        ConfigError: It is neither.
    """
    if is_settings_file(name):
        return name
    if name not in library_types():
        said = unknown("type", name, library_types())
        raise ConfigError(
            f"{said} Or give a template file of your own (.yaml).", "`rung data template list` says more."
        )
    return str(library_path(name))


def shower_on(
    path: str, table: Table, columns: Mapping[str, str], values: Mapping[str, str], choices: Mapping[str, str]
) -> Shower:
    """A file of templates settled on a table.

    Args:
        path: The file of templates.
        table: The rows.
        columns: Role to column; the others are found by their names.
        values: Role to a text that is the same in every row.
        choices: Label to words.

    Raises:
        RungError: They don't fit each other.
    """
    roles = find_roles(table, load_templates(path), columns, values)
    return shower_of(roles, table.records, choices, Path(path).stem)


def previewed(
    shower: Shower, table: Table, rows: int
) -> Iterator[tuple[TemplateConfig, list[tuple[Record, str, str]]]]:
    """Each template with the first whole rows under it: (row, prompt, completion).

    Raises:
        DataError: No row has all roles, or a template fails on one.
    """
    whole: list[Record] = []
    for record in table.records:
        if all(shower.whole(record)):
            whole.append(record)
        if len(whole) == rows:
            break
    if not whole:
        given = ", ".join(f"{role}={column}" for role, column in shower.roles.columns.items())
        raise DataError(f"{table.path}: no row has something in every role ({given})", "Set the columns of the roles.")
    for template in shower.roles.file.templates:
        yield template, [(record, *shower.show(record, template)) for record in whole]


def write_own(path: str, shower: Shower) -> None:
    """Write a user's own file: these templates, with the columns and the words for labels that were settled.

    Raises:
        ConfigError: The file is there already, or is not named as a YAML file.
        StorageError: It can't be written.
    """
    if Path(path).suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError(f"--write {path}: templates are written as YAML", "Give it the ending .yaml.")
    file = shower.roles.file
    body = file.model_dump(mode="json", exclude_defaults=True)
    templates = body.pop("templates")
    settled = {"columns": shower.roles.columns, "values": shower.roles.values, "choices": shower.words}
    body |= {name: dict(given) for name, given in settled.items() if given}
    text = yaml.dump({**body, "templates": templates}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    head = _HEAD.format(choices="" if file.answers == "text" else _CHOICES)
    try:
        with Path(path).open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(head + text)
    except FileExistsError:
        raise ConfigError(f"--write {path}: it is there already", "Name another file, or remove it.") from None
    except OSError as error:
        raise StorageError(f"{path}: can't be written: {error.strerror}", "Check the folder and the space.") from None


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, as people write them."""


def _text(dumper: yaml.SafeDumper, value: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
