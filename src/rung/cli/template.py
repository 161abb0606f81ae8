"""`rung data template`: templates that turn rows into instructions, on the user's own rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from rung.cli import console
from rung.errors import ConfigError

if TYPE_CHECKING:
    from rung.data.mixture.template_file import TemplateFile

_LIST = "list"
_Pairs = Annotated[list[str] | None, Parameter(consume_multiple=True)]


template = App(
    name="template",
    help_epilogue="""Examples:
  rung data template list
  rung data template sentiment
  rung data template sentiment reviews.csv --rows 2
  rung data template topic mails.csv --columns text=mail label=sort
  rung data template detection sms.csv --values kind=spam --write mine.yaml
  rung data template mine.yaml sms.csv""",
)


@template.default
def _template(
    type: str,
    source: str | None = None,
    /,
    *,
    columns: _Pairs = None,
    values: _Pairs = None,
    choices: _Pairs = None,
    rows: Annotated[int, Parameter(alias="-n")] = 1,
    write: str | None = None,
) -> int:
    """Show templates that turn rows into instructions, on your own rows; or write them to a file of your own.

    Without data the templates are shown as they are written. What is to be answered stands in ⟦ ⟧.

    Args:
        type: `list` for what the library has; one of its types; or a template file of your own (.yaml).
        source: The rows: a file, a folder or a hub id.
        columns: role=column words; roles left out are found by the usual names.
        values: role=text words for what is the same in every row, such as a language.
        choices: label=words words: how labels are shown.
        rows: How many rows each template is shown on.
        write: Write the templates with your columns to this file, which `templates:` of a mixture reads.
    """
    if type == _LIST:
        if source is not None:
            raise ConfigError(f"rung data template list {source}: list takes no data", "Name a type to see it on data.")
        return _list()

    from rung.data.mixture.own import template_path
    from rung.data.mixture.template_file import load_templates

    path = template_path(type)
    if source is None:
        if write is not None or columns or values or choices:
            raise ConfigError("rows are needed to settle columns on", f"rung data template {type} DATA ...")
        return _described(load_templates(path))
    pairs = [_pairs(name, given) for name, given in (("columns", columns), ("values", values), ("choices", choices))]
    return _previewed(path, source, pairs, rows, write)


def _previewed(path: str, source: str, pairs: Sequence[dict[str, str]], rows: int, write: str | None) -> int:
    from rung.cli.rows import read_rows
    from rung.data.mixture.own import previewed, shower_on, write_own

    if rows < 1:
        raise ConfigError(f"--rows {rows}: no row is asked for", "Give a number above 0.")
    table = read_rows(source)
    shower = shower_on(path, table, *pairs)
    if shower.roles.reason:
        console.echo(f"Columns: {shower.roles.reason}.")
    if write is not None:
        write_own(write, shower)
        console.print_result(write)
        return 0
    for one, shown in previewed(shower, table, rows):
        inverted = ", inverted" if one.inverted else ""
        choices = ", shows the choices" if one.shows_choices else ""
        console.print_result(f"── {one.name}{inverted}{choices}")
        for record, prompt, completion in shown:
            console.print_result(f"{record.source}:")
            console.print_shown(f"{prompt}\n⟦{completion}⟧\n")
    return 0


def _list() -> int:
    from rung.data.mixture.template_file import library_path, library_types, load_templates

    lines: list[tuple[object, ...]] = []
    for name in library_types():
        file = load_templates(str(library_path(name)))
        inverted = sum(one.inverted for one in file.templates)
        lines.append((name, file.cluster, ", ".join(file.inputs), file.answer, len(file.templates), inverted))
    heads = ("type", "cluster", "reads", "answers", "templates", "inverted")
    console.print_result(console.table(heads, lines, right=heads[4:]))
    return 0


def _described(file: TemplateFile) -> int:
    console.print_result(f"{file.description}\nCluster: {file.cluster}. The answer is {file.answer}.")
    for role, config in file.roles.items():
        optional = " (may be empty)" if config.optional else ""
        console.print_result(f"  {role}: {config.about}{optional}")
    for one in file.templates:
        inverted = ", inverted" if one.inverted else ""
        console.print_result(f"\n── {one.name}{inverted}")
        console.print_shown(f"{one.prompt}\n⟦{file.answer_of(one)}⟧")
    return 0


def _pairs(setting: str, words: Sequence[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words or ():
        name, separator, value = word.partition("=")
        if not separator or not name:
            raise ConfigError(f"--{setting} {word}: not name=value", f"Write for example --{setting} label=kind.")
        if name in found:
            raise ConfigError(f"--{setting} {word}: {name} is set twice", "Set it once.")
        found[name] = value
    return found
