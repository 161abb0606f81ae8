"""Candidates: the user's own prompts first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rung.data.templates import check_template, named_columns
from rung.errors import ConfigError, nearest
from rung.tasks.base import Task
from rung.tasks.prompts import prompt_key
from rung.types import Prompt

_OPENINGS = ("{{", "{%")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prompt to be tried.

    Attributes:
        prompt: The prompt, not calibrated.
        origin: How it came about.
        parent: Key of the prompt it was made of, or None.
    """

    prompt: Prompt
    origin: str
    parent: str | None = None

    @property
    def key(self) -> str:
        """The name it is known by."""
        return prompt_key(self.prompt)


def read_text(place: str, given: str) -> str:
    """A prompt's text: as given where it holds a placeholder, else the content of the file it names.

    Raises:
        ValueError: There is no such file, or it holds nothing.
    """
    if any(sign in given for sign in _OPENINGS):
        return given
    path = Path(given)
    if not path.is_file():
        siblings = [one.name for one in path.parent.iterdir() if one.is_file()] if path.parent.is_dir() else []
        match = nearest(path.name, siblings)
        guess = f" Did you mean {path.with_name(match)}?" if match else ""
        raise ValueError(
            f"{place}={given!r} is no file, and as a prompt it has no place for the text.{guess} Name a file, or write "
            "{{ column }} where the text goes"
        )
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        raise ValueError(f"{place}={given}: the file is empty")
    return text


def own_prompts(task: Task, texts: Sequence[str], columns: tuple[str, ...], chat_template: bool) -> list[Prompt]:
    """The user's prompts. What stands before the paragraph with the first placeholder is the instruction.

    Args:
        task: The task.
        texts: The prompts' texts.
        columns: The rows' columns.
        chat_template: Whether turns are written in the model's own chat template.

    Raises:
        ConfigError: A prompt has no place for a text that is read, or names what no column has.
    """
    return [
        replace(_own(task, f"method.prompts[{number}]", text, columns), chat_template=chat_template)
        for number, text in enumerate(texts)
    ]


def _own(task: Task, place: str, text: str, columns: tuple[str, ...]) -> Prompt:
    text = text.strip("\n")
    starts = [at for at in map(text.find, _OPENINGS) if at >= 0]
    if not starts:
        raise ConfigError(
            f"{place} has no place for the text: {text[:60]!r}", f"Write {_placeholder(task.reads[0])} where it goes."
        )
    head, blank, tail = text[: min(starts)].rpartition("\n\n")
    template = tail + text[min(starts) :]
    check_template(template, (*columns, "this"), place)
    named = named_columns(template)
    missing = [column for column in task.reads if column not in named and "this" not in named]
    if missing:
        raise ConfigError(
            f"{place} shows {', '.join(sorted(named)) or 'no column'} and not {missing[0]!r}, which the task reads",
            f"Write {_placeholder(missing[0])} where it goes.",
        )
    return replace(task.prompt, instruction=head.strip() if blank else "", template=template, shots=(), pool=None)


def _placeholder(column: str) -> str:
    return f"{{{{ {column} }}}}" if column.isidentifier() else f"{{{{ this[{column!r}] }}}}"
