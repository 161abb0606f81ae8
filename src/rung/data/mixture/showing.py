"""A row under a template, and which template a row gets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rung.data.mixture.roles import MOST_LABELS, Roles, label_words, own_choice, shown_choices
from rung.data.mixture.template_file import TemplateConfig
from rung.data.templates import render
from rung.errors import DataError
from rung.types import Record


@dataclass(frozen=True, slots=True)
class Shower:
    """Shows the rows of one data set.

    Attributes:
        roles: Where each role's text stands.
        words: Label to the words it is shown in; none where the answer is no label.
        about: Where the templates are from, for errors.
    """

    roles: Roles
    words: Mapping[str, str]
    about: str

    def whole(self, record: Record) -> tuple[str, str]:
        """What is read of a row, and its answer, as texts without any template; "" where a role is empty.

        Raises:
            DataError: The answer is none of the row's choices.
        """
        file, texts = self.roles.file, self.roles.texts(record)
        answer = texts[file.answer]
        read = [texts[role] for role in file.inputs if role in texts and (texts[role] or not file.roles[role].optional)]
        if file.answers == "choice":
            choices = self.roles.choices(record)
            read.append("\n".join(choices))
            answer = own_choice(self.roles, record, answer, choices) if answer and choices else answer
        return "\n".join(read) if all(read) else "", answer

    def show(self, record: Record, template: TemplateConfig) -> tuple[str, str]:
        """A row's prompt and completion.

        Raises:
            DataError: The template fails on it, or leaves nothing of it.
        """
        file = self.roles.file
        fields: dict[str, object] = dict(self.roles.texts(record))
        answer = str(fields[file.answer])
        if file.answers == "choice":
            choices = self.roles.choices(record)
            answer = own_choice(self.roles, record, answer, choices)
            fields |= shown_choices(choices, answer)
        elif file.answers == "label":
            answer = self.words[answer]
            fields |= shown_choices(tuple(self.words.values()), answer)
        fields[file.answer] = answer
        where = f"{self.about}: template {template.name}"
        prompt = render(template.prompt, fields, f"{where}: prompt").strip()
        completion = render(file.answer_of(template), fields, f"{where}: answer").strip()
        for part, text in (("prompt", prompt), ("answer", completion)):
            if not text:
                raise DataError(f"{where}: its {part} is empty for {record.source}", "Mend the template or the row.")
        return prompt, completion


def shower_of(roles: Roles, records: Sequence[Record], choices: Mapping[str, str], about: str) -> Shower:
    """What shows the rows of a data set; the labels are looked for in all of `records`.

    Args:
        roles: Where each role's text stands.
        records: All rows.
        choices: Label to words, as given; a template file's own come after these.
        about: Where the templates are from.

    Raises:
        ConfigError: The words don't fit the labels, or the answer is no label.
        DataError: There are too many labels to be labels.
    """
    file = roles.file
    if file.answers != "label":
        if choices:
            raise DataError(f"{about}: choices are words for labels, and its {file.answer} is none", "Leave them out.")
        return Shower(roles, {}, about)
    labels: set[str] = set()
    for record in records:
        if label := roles.texts(record)[file.answer]:
            labels.add(label)
        if len(labels) > MOST_LABELS:
            raise DataError(
                f"{about}: {file.answer} has more than {MOST_LABELS} different values, so it is no label",
                f"Set columns.{file.answer} to another column, or choose a type whose answer is a text.",
            )
    return Shower(roles, label_words(labels, choices or file.choices, about), about)


def in_order(templates: Sequence[TemplateConfig], seed: int, id: str) -> list[TemplateConfig]:
    """The templates in the order in which a row takes them: a function of the seed, the row and their names alone.

    A template that is added changes the row's first choice only if it becomes the first choice itself.
    """
    return sorted(templates, key=lambda template: _digest(seed, id, template.name))


def takes_held_out(seed: int, id: str) -> bool:
    """Whether a test row is shown with a template that was held out, where there are any: every second row is."""
    return _digest(seed, id, "\x1fheld out")[0] < 128


def _digest(seed: int, id: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\x1f{id}\x1f{name}".encode()).digest()
