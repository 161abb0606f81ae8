"""What rows of prompts and answers look like: told from their columns, said aloud in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from rung.data.columns import Columns, require_column
from rung.data.content import as_text
from rung.data.conversations import READ, WRITTEN, holds_turns, with_texts
from rung.data.names import LABEL_NAMES
from rung.data.readers import Table
from rung.data.views import Mapped
from rung.errors import DataError

MESSAGES_NAMES = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns")
"""Names of a column that holds a conversation, most telling first."""

PROMPT_NAMES = ("prompt", "question", "instruction", "input", "inputs", "query", "source", "text")
"""Names of a column that holds what is asked, most telling first."""

COMPLETION_NAMES = ("completion", "answer", "output", "response", "target", "targets", "outputs")
"""Names of a column that holds what is to be written, most telling first."""

CONTEXT_NAMES = {"instruction": ("input", "context")}
"""What stands beside a column of that name and is read with it, where it is not empty."""

SYSTEM_NAMES = ("system", "system_prompt")
"""Names of a column that holds a system message of its own for each row."""

HISTORY_NAME = "history"
"""Name of a column that holds earlier exchanges, as alpaca has them."""

TEXT_NAME = "text"
"""Name of a column that, with nothing to answer beside it, holds texts to be written as they are."""

_LOOKED_AT = 100


def infer_written(table: Table, given: Mapping[str, str | None]) -> Columns:
    """Find the conversation; else the prompt, what is read with it, and the completion; else the text alone.

    Args:
        table: The table.
        given: What the user set of `prompt`, `context`, `completion` and `messages`; these are taken.

    Returns:
        The columns: the prompt as the text, the context as its pair, the completion as an open label. Of a
        conversation they are made (see `prepared`). A text alone is both what is compared and what is written.

    Raises:
        DataError: A given column doesn't exist, two are the same, several shapes fit, or none does.
    """
    for role, column in given.items():
        if column is not None:
            require_column(table, role, column)
    turns, shape = _conversation(table, given)
    if turns:
        said = f"Rows read as {shape}: the conversation is in {' and '.join(turns)}."
        reasons = (*table.notes, said)
        return Columns(turns[0] + READ, None, turns[-1] + WRITTEN, reasons, open=True, turns=turns)
    if _is_text_alone(table, given):
        said = f"Rows read as raw text: all of {TEXT_NAME} is learned, and nothing is asked."
        return Columns(TEXT_NAME, None, TEXT_NAME, (*table.notes, said), open=True)
    return _answered(table, given)


def prepared(table: Table, columns: Columns) -> Table:
    """The table with the columns that are made of its conversations; others are left as they are."""
    if not columns.turns:
        return table
    made = (columns.text, columns.label)
    records = Mapped(table.records, lambda record: with_texts(record, columns.turns))
    return replace(table, columns=(*(name for name in table.columns if name not in made), *made), records=records)


def beside(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The first column of one of these names, or None."""
    by_lower = {column.strip().lower(): column for column in columns}
    return next((by_lower[name] for name in names if name in by_lower), None)


def _conversation(table: Table, given: Mapping[str, str | None]) -> tuple[tuple[str, ...], str]:
    """The columns of a conversation, none where there is none, and the name of its shape."""
    chosen, asked = given.get("messages"), [given.get("prompt"), given.get("completion")]
    if chosen is not None:
        clash = next((f"{role}={column}" for role, column in given.items() if column and role != "messages"), None)
        if clash:
            raise DataError(f"messages={chosen} and {clash} are both set", "Set one of them.")
        return (chosen,), _kind(_first(table, chosen))
    prompt = given.get("prompt") or beside(table.columns, PROMPT_NAMES[:1])
    completion = given.get("completion") or beside(table.columns, COMPLETION_NAMES[:1])
    if prompt and completion and prompt != completion and holds_turns(_first(table, completion)):
        if not holds_turns(_first(table, prompt)):
            raise DataError(f"{table.path}: {completion} holds turns and {prompt} does not", "Write both alike.")
        return (prompt, completion), "prompts and completions of messages"
    if any(asked):
        return (), ""
    by_lower = {column.strip().lower(): column for column in table.columns}
    found = [by_lower[name] for name in MESSAGES_NAMES if name in by_lower]
    fitting = [column for column in found if holds_turns(_first(table, column))]
    if not fitting:
        return (), ""
    if len(fitting) > 1:
        raise DataError(
            f"{table.path}: {' and '.join(fitting)} hold conversations", "Set task.messages to the one to learn from."
        )
    completion = beside(table.columns, COMPLETION_NAMES)
    if completion is not None and beside(table.columns, PROMPT_NAMES) is not None:
        raise DataError(
            f"{table.path}: there is a conversation in {fitting[0]} and an answer in {completion}",
            "Set task.messages to the one, or task.prompt and task.completion to the other.",
        )
    return (fitting[0],), _kind(_first(table, fitting[0]))


def _kind(value: Any) -> str:
    return "sharegpt conversations" if '"from":' in as_text(value)[:10_000] else "messages"


def _first(table: Table, column: str) -> Any:
    """The first value of a column that says something."""
    rows = islice(table.records, _LOOKED_AT)
    return next((row.fields.get(column) for row in rows if row.fields.get(column)), None)


def _is_text_alone(table: Table, given: Mapping[str, str | None]) -> bool:
    if any(given.values()) or TEXT_NAME not in table.columns:
        return False
    return beside(table.columns, (*COMPLETION_NAMES, *LABEL_NAMES)) is None


def _answered(table: Table, given: Mapping[str, str | None]) -> Columns:
    """A prompt, what is read with it, and a completion, in columns."""
    prompt, completion, context = given.get("prompt"), given.get("completion"), given.get("context")
    set_by_user = prompt is not None and completion is not None
    if completion is None:
        completion = _named(table, "completion", COMPLETION_NAMES, taken=(prompt, context))
    if prompt is None:
        prompt = _named(table, "prompt", PROMPT_NAMES, taken=(completion, context))
        context = context or _found(table, CONTEXT_NAMES.get(prompt.strip().lower(), ()), taken=(prompt, completion))
    roles = {"prompt": prompt, "context": context, "completion": completion}
    for role, column in roles.items():
        twin = next(other for other, same in roles.items() if same == column)
        if column is not None and twin != role:
            raise DataError(f"{role}={column} is also the {twin} column", f"Set task.{role} to another column.")
    said = f"Rows read as {_shape(roles)}: {_listed(table, roles)}"
    others = [] if set_by_user else _others(table, roles, given)
    would = f"; {', '.join(others)} would fit too: set task.completion or task.prompt to choose" if others else ""
    return Columns(prompt, context, completion, (*table.notes, f"{said}{would}."), open=True)


def _shape(roles: Mapping[str, str | None]) -> str:
    names = tuple((column or "").strip().lower() for column in roles.values())
    known: dict[tuple[str, ...], str] = {
        ("instruction", "input", "output"): "alpaca",
        ("instruction", "", "output"): "alpaca",
        ("prompt", "", "completion"): "prompts and completions",
        ("inputs", "", "targets"): "FLAN tasks",
    }
    return known.get(names, "questions and answers")


def _listed(table: Table, roles: Mapping[str, str | None]) -> str:
    parts = [f"prompt={roles['prompt']}"]
    if roles["context"] is not None:
        parts.append(f"with {roles['context']} below it where it is not empty")
    if (system := beside(table.columns, SYSTEM_NAMES)) and system not in roles.values():
        parts.append(f"system={system}")
    if (history := beside(table.columns, (HISTORY_NAME,))) and history not in roles.values():
        parts.append(f"history={history}")
    return ", ".join([*parts, f"completion={roles['completion']}"])


def _others(table: Table, roles: Mapping[str, str | None], given: Mapping[str, str | None]) -> list[str]:
    """Columns of usual names that were passed over."""
    names = (() if given.get("completion") else COMPLETION_NAMES) + (() if given.get("prompt") else PROMPT_NAMES)
    return [name for name in table.columns if name.strip().lower() in names and name not in roles.values()]


def _named(table: Table, role: str, names: tuple[str, ...], taken: tuple[str | None, ...]) -> str:
    found = _found(table, names, taken)
    if found is None:
        raise DataError(
            f"{table.path}: no column has a usual name of a {role} ({', '.join(names)}); "
            f"its columns: {', '.join(table.columns)}",
            f"Set task.{role} to the column that holds it.",
        )
    return found


def _found(table: Table, names: tuple[str, ...], taken: tuple[str | None, ...]) -> str | None:
    return beside([column for column in table.columns if column not in taken], names)
