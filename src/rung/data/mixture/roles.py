"""What a row says in each role of its templates, and the words that its labels are shown in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rung.data.columns import require_column
from rung.data.content import as_text
from rung.data.mixture.template_file import CHOICES, LETTER, TemplateFile
from rung.data.names import LABEL_NAMES, TEXT_NAMES
from rung.data.readers import Table
from rung.errors import ConfigError, DataError, unknown
from rung.types import Record

MOST_LABELS = 200
"""Different labels a data set may have; more are texts."""

_USUAL = {"text": TEXT_NAMES, "label": LABEL_NAMES}
"""Names of columns for roles that most types have, beside those that a type lists."""

_BLANKS = re.compile(r"_+|(?<=[^\W\d])-+(?=[^\W\d])")


@dataclass(frozen=True, slots=True)
class Roles:
    """Where each role's text stands.

    Attributes:
        file: The templates.
        columns: Role to column.
        values: Role to a text that is the same in every row.
        reason: How the columns were found, for people; empty where all were given.
    """

    file: TemplateFile
    columns: Mapping[str, str]
    values: Mapping[str, str]
    reason: str = ""

    def texts(self, record: Record) -> dict[str, str]:
        """Role to text; "" where a row says nothing. A row's own choices are left out."""
        return {
            role: self.values[role] if role in self.values else text_of(record.fields.get(self.columns[role]))
            for role in self.file.roles
            if role != CHOICES
        }

    def choices(self, record: Record) -> tuple[str, ...]:
        """The row's own possible answers."""
        return listed(record.fields.get(self.columns[CHOICES]))


def find_roles(table: Table, file: TemplateFile, columns: Mapping[str, str], values: Mapping[str, str]) -> Roles:
    """Settle the roles of some templates on the columns of a table.

    Args:
        table: The rows.
        file: The templates.
        columns: Role to column, as given; a file's own come after these, and usual names last.
        values: Role to text, as given.

    Raises:
        ConfigError: There is no such role.
        DataError: There is no such column, or none for a role.
    """
    for setting, given in (("columns", columns), ("values", values)):
        if strange := next((role for role in given if role not in file.roles), None):
            raise ConfigError(f"{setting}.{strange}: {unknown('role', strange, file.roles)}")
    fixed = {**file.values, **values}
    found = {role: column for role, column in {**file.columns, **columns}.items() if role not in values}
    for role, column in found.items():
        require_column(table, f"columns.{role}", column)
    guessed: dict[str, str] = {}
    for role, config in file.roles.items():
        if role in found or role in fixed:
            continue
        names = (role, *config.names, *_USUAL.get(role, ()))
        column = _usual(table, names, taken={*found.values(), *guessed.values()})
        if column is None and config.optional:
            fixed[role] = ""
            continue
        if column is None:
            raise DataError(
                f"{table.path}: no column has a usual name of the role {role} ({config.about}); its columns: "
                f"{', '.join(table.columns)}",
                f"Set columns.{role} to one of them, or values.{role} to a text that is the same in every row.",
            )
        guessed[role] = column
    said = ", ".join(f"{role}={column}" for role, column in guessed.items())
    return Roles(file, {**found, **guessed}, fixed, f"{said} (by their names)" if said else "")


def _usual(table: Table, names: Sequence[str], taken: set[str]) -> str | None:
    by_lower = {column.strip().lower(): column for column in table.columns if column not in taken}
    return next((by_lower[name.lower()] for name in names if name.lower() in by_lower), None)


def text_of(value: Any) -> str:
    """A field as a role's text: of an object with `text` (SQuAD's answers) the first, of a list all, with blanks."""
    if isinstance(value, Mapping) and "text" in value:
        inner = value["text"]
        value = (inner[0] if inner else "") if isinstance(inner, list) else inner
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        value = " ".join(map(as_text, value))
    return as_text(value).strip()


def listed(value: Any) -> tuple[str, ...]:
    """The texts of a list: as such, as JSON, of an object's `text`, or with `|` or line breaks between them."""
    if isinstance(value, str):
        try:
            parsed = json.loads(value) if value.lstrip().startswith(("[", "{")) else None
        except ValueError:
            parsed = None
        if parsed is None:
            return tuple(part.strip() for part in re.split(r"[|\n]", value) if part.strip())
        value = parsed
    if isinstance(value, Mapping):
        value = value.get("text")
    return tuple(as_text(one).strip() for one in value) if isinstance(value, list) else ()


def label_words(labels: Iterable[str], given: Mapping[str, str], about: str) -> dict[str, str]:
    """Label to the words it is shown in, in the order of `given`, or else sorted.

    Args:
        labels: The labels there are.
        given: The words the user chose for them; all of them, or none.
        about: Whose they are, for errors.

    Raises:
        ConfigError: A label has no words, a label doesn't exist, or two are shown alike.
    """
    found = sorted(labels)
    if given:
        if strange := next((label for label in given if label not in found), None):
            raise ConfigError(f"{about}: choices.{strange}: {unknown('label', strange, found)}")
        if missing := [label for label in found if label not in given]:
            raise ConfigError(
                f"{about}: choices has no words for {', '.join(map(repr, missing[:5]))}", "Name every label, or none."
            )
    words = dict(given) if given else {label: " ".join(_BLANKS.sub(" ", label).split()) or label for label in found}
    by_word: dict[str, str] = {}
    for label, word in words.items():
        if not word.strip():
            raise ConfigError(f"{about}: choices.{label} is empty", "Give it words.")
        if (twin := by_word.setdefault(word, label)) != label:
            raise ConfigError(f"{about}: labels {twin!r} and {label!r} are both shown as {word!r}", "Set choices.")
    return words


def own_choice(roles: Roles, record: Record, answer: str, choices: Sequence[str]) -> str:
    """The row's right choice as text: given as such, by its letter, by its key, or by its place, counted from 0.

    Raises:
        DataError: It is none of the row's choices.
    """
    if answer in choices:
        return answer
    value = record.fields.get(roles.columns[CHOICES])
    keys = [as_text(one) for one in value.get("label", ())] if isinstance(value, Mapping) else []
    if answer in keys and len(keys) == len(choices):
        return choices[keys.index(answer)]
    place = ord(answer.upper()) - ord("A") if len(answer) == 1 and answer.isascii() and answer.isalpha() else -1
    place = int(answer) if answer.isascii() and answer.isdigit() else place
    if 0 <= place < len(choices):
        return choices[place]
    raise DataError(
        f"{record.source}: {roles.columns[roles.file.answer]}={answer!r} is none of the choices: {'; '.join(choices)}",
        "Give the choice itself, its letter, or its place counted from 0.",
    )


def shown_choices(choices: Sequence[str], answer: str) -> dict[str, Any]:
    """What templates may name to show the possible answers (see `template_file.SHOW_CHOICES`)."""
    marks = [chr(ord("A") + place) if len(choices) <= 26 else str(place + 1) for place in range(len(choices))]
    lettered = "\n".join(f"({mark}) {choice}" for mark, choice in zip(marks, choices, strict=True))
    return {
        CHOICES: list(choices),
        "either": " or ".join([", ".join(choices[:-1]), choices[-1]]) if len(choices) > 1 else "".join(choices),
        "bullets": "\n".join(f"- {choice}" for choice in choices),
        "lettered": lettered,
        LETTER: marks[list(choices).index(answer)],
    }
