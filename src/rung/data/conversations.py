"""Conversations in rows: OpenAI's messages and sharegpt's turns, read into the same values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rung.data.content import as_text
from rung.errors import DataError, unknown
from rung.types import Message, Record

READ, WRITTEN = " (read)", " (written)"
"""End the names of two columns made of a conversation's column: the text before its answer, and the answer."""

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "tool_response": "tool",
}
"""A role as people write it to a chat template's."""

_MORE = ("tool_calls", "tool_call_id", "name", "reasoning_content")


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row as turns.

    Attributes:
        before: What is read: all turns before the answer.
        reply: The last assistant's turn that is to be learned; None where nobody has answered yet.
        tools: Descriptions of the tools that may be called.
    """

    before: tuple[Message, ...]
    reply: Message | None
    tools: tuple[Any, ...] = ()

    @property
    def read(self) -> str:
        """The text before the answer: what rows are compared by."""
        return "\n\n".join(_text(one) for one in self.before if one.role != "system")

    @property
    def written(self) -> str:
        """The answer's text; calls of tools are written as JSON."""
        return "" if self.reply is None else _text(self.reply)


def conversation(
    fields: Mapping[str, Any], columns: Sequence[str], source: str, every: bool = True, answered: bool = False
) -> Conversation:
    """Read a row's conversation. Where it ends with a turn that is still to be answered, it has no answer yet.

    Args:
        fields: The row.
        columns: The columns whose turns follow each other; `tools` beside them is read as well.
        source: Where the row stands.
        every: Whether all of the assistant's turns are learned; else the last alone.
        answered: Whether what follows the last answer is left out.

    Raises:
        DataError: It is no list of turns, or a turn has an unknown role or no text; with the place.
    """
    turns = [
        _turn(value, f"{source}: {column}, turn {number}")
        for column in columns
        for number, value in enumerate(_listed(fields.get(column), f"{source}: {column}"), start=1)
    ]
    tools = tuple(_listed(fields.get("tools"), f"{source}: tools"))
    answers = [at for at, one in enumerate(turns) if one.role == "assistant" and one.learned and _text(one).strip()]
    asks = [at for at, one in enumerate(turns) if one.role in ("user", "tool")]
    is_open = bool(asks) and asks[-1] > max(answers, default=-1)
    if not answers or not asks or asks[0] > answers[-1] or (is_open and not answered):
        return Conversation(tuple(map(_unlearn, turns)), None, tools)
    end = answers[-1]
    # An opening by the assistant answers nothing.
    before = [one if every and at > asks[0] else _unlearn(one) for at, one in enumerate(turns[:end])]
    return Conversation(tuple(before), turns[end], tools)


def with_texts(record: Record, columns: Sequence[str]) -> Record:
    """A row with what is read and what is written of its conversation in columns of their own; ends at its answer.

    Raises:
        DataError: It holds no conversation.
    """
    found = conversation(record.fields, columns, record.source, answered=True)
    fields = dict(record.fields)
    if len(columns) == 1 and found.reply is not None:
        fields[columns[0]] = _listed(fields[columns[0]], record.source)[: len(found.before) + 1]
    made = {columns[0] + READ: found.read, columns[-1] + WRITTEN: found.written}
    return Record(record.id, {**fields, **made}, record.source)


def turns_of(text: str, label: str, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that hold the turns from which the columns `text` and `label` were made; none where they were not."""
    if not (text.endswith(READ) and label.endswith(WRITTEN)):
        return ()
    found = tuple(dict.fromkeys((text.removesuffix(READ), label.removesuffix(WRITTEN))))
    return found if all(name in columns for name in found) else ()


def holds_turns(value: Any) -> bool:
    """Whether a value, or the JSON in it, is a list of turns."""
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return False
        try:
            value = json.loads(value)
        except ValueError:
            return False
    is_list = isinstance(value, list) and bool(value)
    return is_list and all(isinstance(one, dict) and ({"role", "from"} & one.keys()) for one in value)


def pairs(value: Any, place: str) -> list[Message]:
    """Earlier exchanges as alpaca's `history` has them: lists of a question and its answer.

    Raises:
        DataError: They are anything else; with the place.
    """
    turns: list[Message] = []
    for number, pair in enumerate(_listed(value, place), start=1):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, str) for one in pair)):
            raise DataError(f"{place}, exchange {number}: not a pair of texts", 'Write [["question", "answer"], ...].')
        turns += [Message("user", pair[0]), Message("assistant", pair[1], learned=True)]
    return turns


def _listed(value: Any, place: str) -> list[Any]:
    """A list, or the JSON text of one; nothing as an empty one."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError as error:
            raise DataError(f"{place}: not JSON: {error}", "Write a list of turns.") from None
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise DataError(f"{place}: not a list but {as_text(value)[:60]!r}", "Write a list of turns.")
    return value


def _turn(value: Any, place: str) -> Message:
    if not isinstance(value, dict):
        raise DataError(f"{place}: not an object but {as_text(value)[:60]!r}", 'Write {"role": ..., "content": ...}.')
    named = value.get("role", value.get("from"))
    if not isinstance(named, str):
        raise DataError(f"{place}: it has no role", 'Write {"role": ..., "content": ...}, or from and value.')
    role = ROLES.get(named.strip().lower())
    if role is None:
        raise DataError(f"{place}: role={named!r}: {unknown('role', named, tuple(ROLES))}", "Mend the row.")
    content = value.get("content", value.get("value"))
    more = {name: value[name] for name in _MORE if value.get(name) not in (None, [], "")}
    if named == "function_call":
        content, more = "", {**more, "tool_calls": [_call(content, place)]}
    if content is None and "tool_calls" not in more:
        raise DataError(f"{place}: it has no content", "Fill it in, or take the turn out.")
    is_learned = role == "assistant" and value.get("weight", 1) not in (0, 0.0) and value.get("train") is not False
    return Message(role, _content(content, place), more, is_learned)


def _content(value: Any, place: str) -> str:
    """A text, or OpenAI's list of parts, of which only texts can be read."""
    if value is None:
        return ""
    parts = value if isinstance(value, list) else [value]
    found = [part.get("text") if isinstance(part, dict) else part for part in parts]
    texts = [text for text in found if isinstance(text, str)]
    if len(texts) < len(found):
        kinds = {str(part.get("type")) if isinstance(part, dict) else type(part).__name__ for part in parts}
        raise DataError(f"{place}: its content is {', '.join(sorted(kinds))}", "Only text can be learned from.")
    return "".join(texts)


def _call(value: Any, place: str) -> dict[str, Any]:
    """Sharegpt's call of a tool, a JSON text, as a chat template reads it."""
    try:
        found = json.loads(value)
        return {"type": "function", "function": {"name": found["name"], "arguments": found["arguments"]}}
    except (ValueError, TypeError, KeyError):
        todo = 'Write {"name": ..., "arguments": {...}} as its value.'
        raise DataError(f"{place}: no call of a function: {as_text(value)[:60]!r}", todo) from None


def _text(turn: Message) -> str:
    calls = turn.more.get("tool_calls")
    return turn.content if not calls else "\n".join(filter(None, (turn.content, as_text(calls))))


def _unlearn(turn: Message) -> Message:
    return Message(turn.role, turn.content, turn.more)


def opened(turns: Sequence[Message], instruction: str) -> tuple[Message, ...]:
    """The turns, the instruction opening the user's first."""
    at = next((at for at, one in enumerate(turns) if one.role == "user"), None)
    if not instruction or at is None:
        return tuple(turns)
    first = replace(turns[at], content=f"{instruction}\n\n{turns[at].content}")
    return (*turns[:at], first, *turns[at + 1 :])


def newest(turns: tuple[Message, ...], characters: int) -> tuple[Message, ...]:
    """The system message and the last exchanges that have at most so many characters.

    Exchanges begin with a user's turn, so that a chat template can read what is left. Of the last one, if it alone is
    too long, what is asked is cut; the assistant's turns stay whole, since they may be learned.
    """
    system, rest = (turns[:1], turns[1:]) if turns and turns[0].role == "system" else ((), turns)
    starts = [at for at, one in enumerate(rest) if one.role == "user"] or [0]
    for at in starts:
        if sum(len(str(one.more or "")) + len(one.content) for one in rest[at:]) <= characters:
            return (*system, *rest[at:])
    kept, left = [], characters
    for turn in rest[starts[-1] :]:
        content = turn.content if turn.role == "assistant" else turn.content[: max(0, left)]
        kept.append(replace(turn, content=content))
        left -= len(turn.content)
    return (*system, *kept)


def plain(turn: Message) -> dict[str, Any]:
    """A turn as a row holds it."""
    weight = {} if turn.role != "assistant" or turn.learned else {"weight": 0}
    return {"role": turn.role, "content": turn.content, **turn.more, **weight}
