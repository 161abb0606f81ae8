"""A file of templates: one way of turning rows into instructions, said in several wordings.

The library holds one such file per type of task; a user's own has the same form.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from rung.config.base import Config
from rung.config.document import Document
from rung.config.loading import load_config
from rung.config.validation import build
from rung.data.templates import compile_template, named_columns
from rung.errors import ConfigError, nearest, unknown

LIBRARY = Path(__file__).parents[1] / "library"
"""The folder of the library: a file per type."""

CHOICES, EITHER, BULLETS, LETTERED, LETTER = "choices", "either", "bullets", "lettered", "letter"
SHOW_CHOICES = (CHOICES, EITHER, BULLETS, LETTERED)
"""What a template may name to show the possible answers: a list; `a, b or c`; lines of `- a`; lines of `(A) a`."""


def texts(given: object) -> object:
    """A mapping with numbers and truth values, as YAML reads them, as texts; anything else as it is."""
    if not isinstance(given, Mapping):
        return given
    return {_text(key): _text(value) for key, value in given.items()}


def _text(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


class RoleConfig(Config):
    """A part that a row plays in the templates."""

    about: str
    """What it is, for people."""

    names: tuple[str, ...] = ()
    """Usual names of a column that holds it, most telling first; the role's own name comes before them."""

    optional: bool = False
    """Whether a row may leave it empty, or no column may hold it."""


class TemplateConfig(Config):
    """One wording."""

    name: str = Field(pattern=r"^[\w-]+$")
    """Unique in its file."""

    prompt: str
    """Jinja over the roles: what is asked."""

    answer: str | None = None
    """Jinja over the roles: what is to be written. None: the role that is the answer."""

    inverted: bool = False
    """Whether it asks for an input, given the answer."""

    @property
    def shows_choices(self) -> bool:
        """Whether the possible answers stand in the prompt."""
        return bool(named_columns(self.prompt) & set(SHOW_CHOICES))


class TemplateFile(Config):
    """The templates of one type of task."""

    description: str
    """What the task is, in a sentence."""

    cluster: str
    """The cluster of tasks it belongs to: what is held out together."""

    roles: dict[str, RoleConfig]
    """The parts of a row."""

    answer: str
    """The role that is the answer."""

    answers: Literal["text", "label", "choice"] = "text"
    """What the answer is: any text; one of the data set's labels; or one of the row's own, in the role `choices`."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Role to column, for the data the file was written for; a source's own come first."""

    values: dict[str, str] = Field(default_factory=dict)
    """Role to a text that is the same in every row."""

    choices: dict[str, str] = Field(default_factory=dict)
    """Label to the words it is shown in."""

    templates: tuple[TemplateConfig, ...]
    """The wordings."""

    @field_validator("values", "choices", mode="before")
    @classmethod
    def _worded(cls, given: object) -> object:
        return texts(given)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The roles that are read."""
        return tuple(role for role in self.roles if role != self.answer)

    def answer_of(self, template: TemplateConfig) -> str:
        """The template of what is to be written."""
        return template.answer if template.answer is not None else f"{{{{ {self.answer} }}}}"


def library_types() -> tuple[str, ...]:
    """The types of the library, sorted."""
    return tuple(sorted(path.stem for path in LIBRARY.glob("*.yaml")))


def library_path(name: str) -> Path:
    """The file of a type.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in library_types():
        raise ConfigError(
            f"type={name}: {unknown('type', name, library_types())}", "`rung data template list` says more."
        )
    return LIBRARY / f"{name}.yaml"


def load_templates(path: str) -> TemplateFile:
    """Read a file of templates, strictly.

    Raises:
        ConfigError: It is missing or malformed, a key is unknown, or a template says what it can't.
    """
    document = load_config(path)
    file = build(TemplateFile, document)
    _check_roles(file, path)
    for number, template in enumerate(file.templates):
        _check_template(file, template, document, number)
    names = [template.name for template in file.templates]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{path}: two templates are called {twice}", "Give each a name of its own.")
    if all(template.inverted for template in file.templates):
        raise ConfigError(
            f"{path}: no template asks for the answer", "Add one that asks for the answer: rows are tested with it."
        )
    return file


def _check_roles(file: TemplateFile, path: str) -> None:
    if file.answer not in file.roles:
        raise ConfigError(f"{path}: answer={file.answer}: {unknown('role', file.answer, file.roles)}")
    if all(file.roles[role].optional for role in file.inputs):
        raise ConfigError(f"{path}: no role but the answer must hold something", "Add one that is always read.")
    if file.roles[file.answer].optional:
        raise ConfigError(f"{path}: roles.{file.answer} is the answer and can't be optional", "Leave optional out.")
    for key, given in (("columns", file.columns), ("values", file.values)):
        if strange := next((role for role in given if role not in file.roles), None):
            raise ConfigError(f"{path}: {key}.{strange}: {unknown('role', strange, file.roles)}")
    own = {CHOICES} if file.answers == "choice" else set[str]()
    if own - file.roles.keys():
        raise ConfigError(
            f"{path}: answers=choice needs a role named {CHOICES}", "It holds the possible answers of a row."
        )
    if taken := next((role for role in file.roles if role in {*SHOW_CHOICES, LETTER} - own), None):
        raise ConfigError(
            f"{path}: a role can't be called {taken}", "Templates show the possible answers by that name."
        )


def _check_template(file: TemplateFile, template: TemplateConfig, document: Document, number: int) -> None:
    """Refuse what can't be rendered, and a prompt that gives its own answer away."""
    about = f"{document.place(('templates', number))}: template {template.name}"
    answer = file.answer_of(template)
    possible = {*file.roles, *((*SHOW_CHOICES, LETTER) if file.answers != "text" else ())}
    for part, source in (("prompt", template.prompt), ("answer", answer)):
        compile_template(source, f"{about}: {part}")
        for name in sorted(named_columns(source) - possible):
            match = nearest(name, possible)
            guess = f" Did you mean {match!r}?" if match else ""
            raise ConfigError(f"{about}: {part} names {name!r}.{guess}", f"Allowed: {', '.join(sorted(possible))}.")
    told, asked = named_columns(template.prompt), named_columns(answer)
    given = {file.answer, LETTER}
    if not template.inverted and told & given:
        name = min(told & given)
        raise ConfigError(
            f"{about}: its prompt names {name!r}, which is the answer", "Take it out, or set inverted: true."
        )
    if template.inverted and (not told & given or asked & given):
        raise ConfigError(
            f"{about} is inverted: its prompt must name {file.answer!r}, and its answer must not",
            "An inverted template asks for an input, given the answer.",
        )
    if template.inverted and (shared := told & asked):
        raise ConfigError(f"{about}: {min(shared)!r} stands in its prompt and in its answer", "Name it in one of them.")
