"""Which column is the prompt and which is the completion: by their names, said aloud."""

from __future__ import annotations

from collections.abc import Mapping

from rung.data.columns import Columns, require_column
from rung.data.readers import Table
from rung.errors import DataError

PROMPT_NAMES = ("prompt", "question", "instruction", "input", "query", "source")
"""Names of a column that holds what is asked, most telling first."""

COMPLETION_NAMES = ("completion", "answer", "output", "response", "target")
"""Names of a column that holds what is to be written, most telling first."""

CONTEXT_NAMES = {"instruction": ("input", "context")}
"""What stands beside a column of that name and is read with it, where it is not empty."""


def infer_written(table: Table, given: Mapping[str, str | None]) -> Columns:
    """Find the prompt, what is read with it, and the completion.

    Args:
        table: The table.
        given: What the user set of `prompt`, `context` and `completion`; these are taken.

    Returns:
        The columns: the prompt as the text, the context as its pair, the completion as an open label.

    Raises:
        DataError: A given column doesn't exist, two are the same, or no column has a usual name.
    """
    for role, column in given.items():
        if column is not None:
            require_column(table, role, column)
    prompt, completion, context = given.get("prompt"), given.get("completion"), given.get("context")
    reasons = list(table.notes)
    if completion is None:
        completion = _named(table, "completion", COMPLETION_NAMES, taken=(prompt, context))
        reasons.append(f"Completion column: {completion} (by its name).")
    if prompt is None:
        prompt = _named(table, "prompt", PROMPT_NAMES, taken=(completion, context))
        reasons.append(f"Prompt column: {prompt} (by its name).")
        beside = _found(table, CONTEXT_NAMES.get(prompt.strip().lower(), ()), taken=(prompt, completion))
        if context is None and beside is not None:
            context = beside
            reasons.append(f"Context column: {context} (beside {prompt}; read where it is not empty).")
    roles = {"prompt": prompt, "context": context, "completion": completion}
    for role, column in roles.items():
        twin = next(other for other, same in roles.items() if same == column)
        if column is not None and twin != role:
            raise DataError(f"{role}={column} is also the {twin} column", f"Set task.{role} to another column.")
    return Columns(prompt, context, completion, tuple(reasons), open=True)


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
    by_lower = {column.strip().lower(): column for column in table.columns if column not in taken}
    return next((by_lower[name] for name in names if name in by_lower), None)
