"""Conversations as people have them, in every kind of file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from rung.data.conversations import conversation
from rung.data.load import LoadedData, load_generation
from rung.data.settings import DataConfig
from rung.errors import DataError
from rung.types import Message

CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}


def openai(at: int) -> list[dict[str, Any]]:
    said = [("system", f"be brief {at % 3}"), ("user", f"one {at}"), ("assistant", f"uno {at}"), ("user", f"two {at}")]
    return [{"role": role, "content": text} for role, text in (*said, ("assistant", f"due {at}"))]


def sharegpt(at: int) -> list[dict[str, Any]]:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return [{"from": names[turn["role"]], "value": turn["content"]} for turn in openai(at)]


def load(path: Path, **columns: str | None) -> LoadedData:
    return load_generation(DataConfig(train=str(path), near_duplicates=False), columns)


def written(folder: Path, rows: list[dict[str, Any]], kind: str = "jsonl") -> Path:
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif kind == "json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    elif kind == "parquet":
        datasets.Dataset.from_list(rows).to_parquet(path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows({name: json.dumps(value) for name, value in row.items()} for row in rows)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
@pytest.mark.parametrize(
    ("column", "make", "shape"),
    [("messages", openai, "messages"), ("conversations", sharegpt, "sharegpt conversations")],
)
def test_a_conversation_is_found_in_every_kind_of_file(
    column: str, make: Any, shape: str, kind: str, tmp_path: Path
) -> None:
    data = load(written(tmp_path, [{column: make(at)} for at in range(40)], kind))
    assert data.columns.reasons == (f"Rows read as {shape}: the conversation is in {column}.",)
    kept = [record for rows in data.splits.named().values() for record in rows]
    assert len(kept) == 40
    for record in kept:
        found = conversation(record.fields, data.columns.turns, record.source)
        assert found.reply is not None
        at = int(found.reply.content.split()[1])
        assert found.before == (
            Message("system", f"be brief {at % 3}"),
            Message("user", f"one {at}"),
            Message("assistant", f"uno {at}", learned=True),
            Message("user", f"two {at}"),
        )
        assert record.fields[data.columns.text] == f"one {at}\n\nuno {at}\n\ntwo {at}"
        assert record.fields[data.columns.label] == f"due {at}"


def test_prompts_and_completions_may_be_messages(tmp_path: Path) -> None:
    rows = [{"prompt": openai(at)[:-1], "completion": openai(at)[-1:]} for at in range(40)]
    data = load(written(tmp_path, rows))
    assert data.columns.reasons[0].startswith("Rows read as prompts and completions of messages")
    record = data.splits.train[0]
    assert record.fields["completion (written)"] == record.fields["completion"][0]["content"]


def test_calls_of_tools_are_kept_for_the_template() -> None:
    turns = [
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "name": "add", "content": "2"},
        {"role": "assistant", "content": [{"type": "text", "text": "It is 2."}]},
    ]
    found = conversation({"messages": turns, "tools": json.dumps([CALL])}, ["messages"], "a:1")
    assert found.before[1] == Message("assistant", "", {"tool_calls": [CALL]}, learned=True)
    assert found.before[2] == Message("tool", "2", {"name": "add"})
    assert (found.written, found.tools) == ("It is 2.", (CALL,))
    shared = [
        {"from": "human", "value": "1 + 1?"},
        {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
    ]
    called = conversation({"conversations": shared}, ["conversations"], "a:1").reply
    assert called == Message("assistant", "", {"tool_calls": [CALL]}, learned=True)


def test_which_turns_are_learned() -> None:
    turns = [
        {"role": "assistant", "content": "Welcome."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "weight": 0},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
        {"role": "user", "content": "e"},
        {"role": "assistant", "content": "f"},
        {"role": "user", "content": "thanks"},
    ]
    fields = {"messages": turns}
    every = conversation(fields, ["messages"], "a:1", answered=True)
    assert [one.content for one in every.before if one.learned] == ["d"]
    last = conversation(fields, ["messages"], "a:1", every=False, answered=True)
    assert [one.content for one in last.before if one.learned] == []
    assert every.written == last.written == "f"
    asks = conversation(fields, ["messages"], "a:1")
    assert (asks.reply, asks.before[-1].content, len(asks.before)) == (None, "thanks", 8)
    assert not any(one.learned for one in asks.before)


def test_rows_without_an_answer_are_counted(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"messages": openai(at)} for at in range(40)]
    rows[3]["messages"] = openai(3)[:2]
    rows[4]["messages"] = []
    rows[5]["messages"] = None
    rows[6]["messages"] = [*openai(6), {"role": "user", "content": "thanks"}]
    data = load(written(tmp_path, rows))
    counts = data.ledger.counts()
    assert (counts["missing_label"], counts["empty_text"]) == (1, 2)
    assert sum(counts.values()) == 40
    kept = {record.fields["messages (written)"] for split in data.splits.named().values() for record in split}
    assert "due 6" in kept


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([{"role": "usr", "content": "a"}], r":2: messages, turn 1: role='usr': unknown role 'usr'. Did you"),
        ([{"content": "a"}], r":2: messages, turn 1: it has no role"),
        ([{"role": "user"}], r":2: messages, turn 1: it has no content"),
        (["hello"], r":2: messages, turn 1: not an object but 'hello'"),
        ("hello", r":2: messages: not JSON"),
        ({"role": "user"}, r":2: messages: not a list but"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], r":2: messages, turn 1: its content is image_url"),
        ([{"from": "function_call", "value": "add(1)"}], r":2: messages, turn 1: no call of a function: 'add\(1\)'"),
    ],
)  # fmt: skip
def test_broken_rows_are_named(turns: Any, message: str, tmp_path: Path) -> None:
    rows = [{"messages": openai(at)} for at in range(9)]
    rows[1]["messages"] = turns
    with pytest.raises(DataError, match=message):
        load(written(tmp_path, rows))


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        ({"messages": openai(0), "conversations": sharegpt(0)}, {}, "messages and conversations hold conversations"),
        (
            {"messages": openai(0), "prompt": "a", "completion": "b"}, {},
            "a conversation in messages and an answer in completion",
        ),
        ({"messages": openai(0), "answer": "b"}, {"messages": "messages", "completion": "answer"}, "are both set"),
        ({"messages": openai(0)}, {"messages": "mesages"}, "messages=mesages: no such column"),
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_refused(
    row: dict[str, Any], columns: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        load(written(tmp_path, [row] * 9), **columns)


def test_what_the_user_set_wins(tmp_path: Path) -> None:
    rows = [{"messages": openai(at), "prompt": f"a {at}", "completion": f"b {at}"} for at in range(40)]
    path = written(tmp_path, rows)
    assert load(path, messages="messages").columns.turns == ("messages",)
    assert load(path, prompt="prompt", completion="completion").columns.turns == ()
