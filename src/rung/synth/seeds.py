"""The tasks that a set of instructions grows from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rung.data.content import as_text
from rung.data.readers import Table, read
from rung.data.written import infer_written
from rung.errors import DataError
from rung.types import Record


@dataclass(frozen=True, slots=True)
class SeedTask:
    """A task with one solved instance.

    Attributes:
        id: The file's own id, else the row's.
        instruction: What is asked, on one line.
        input: What it is asked of; "" where there is nothing.
        output: The right answer.
        is_classification: Whether the answer is one of a few; None where the file doesn't say.
    """

    id: str
    instruction: str
    input: str
    output: str
    is_classification: bool | None = None


def read_seeds(path: str) -> tuple[list[SeedTask], str]:
    """The seed tasks of a file, and the SHA-256 of its bytes.

    Args:
        path: Rows of `instruction` and `instances` as self-instruct has them (the first instance is taken), or rows of
            instructions and outputs under any name that `task: generation` finds.

    Raises:
        DataError: It can't be read, or a row lacks an instruction or an output.
    """
    table = read(path)
    find = _of_instances if "instances" in table.columns else _by_columns(table)
    seeds = [find(record) for record in table.records]
    if len(seeds) < 2:
        raise DataError(f"{path}: {len(seeds)} seed tasks", "Give at least two, better fifty and more.")
    return seeds, table.sha256


def one_line(text: str) -> str:
    """`text` with runs of white space as one blank."""
    return " ".join(text.split())


def _by_columns(table: Table) -> Any:
    columns = infer_written(table, {"prompt": None, "context": None, "completion": None, "messages": None})
    if columns.turns:
        raise DataError(f"{table.path}: conversations can't be seeds", "Give rows of instruction, input and output.")

    def found(record: Record) -> SeedTask:
        context = record.fields.get(columns.text_pair) if columns.text_pair else ""
        return _task(record, record.fields.get(columns.text), context, record.fields.get(columns.label))

    return found


def _of_instances(record: Record) -> SeedTask:
    instances = record.fields.get("instances")
    first = instances[0] if isinstance(instances, list) and instances else None
    if not isinstance(first, Mapping):
        raise DataError(f"{record.source}: instances holds no instance", "Write a list of {input, output}.")
    return _task(record, record.fields.get("instruction"), first.get("input"), first.get("output"))


def _task(record: Record, instruction: Any, context: Any, output: Any) -> SeedTask:
    for name, value in (("instruction", instruction), ("output", output)):
        if not as_text(value).strip():
            raise DataError(f"{record.source}: a seed task without {name}", "Fill it in, or leave the row out.")
    said = record.fields.get("is_classification")
    return SeedTask(
        as_text(record.fields.get("id")) or record.id,
        one_line(as_text(instruction)),
        as_text(context).strip(),
        as_text(output).strip(),
        said if isinstance(said, bool) else None,
    )
