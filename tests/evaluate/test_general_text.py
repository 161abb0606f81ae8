"""The general English that forgetting is measured on: its shape, and that it reads as plain text."""

from __future__ import annotations

import json
import re
from collections import Counter
from importlib import resources


def rows() -> list[dict[str, str]]:
    text = resources.files("rung.evaluate").joinpath("general.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_twenty_articles_give_ten_lines_each() -> None:
    counts = Counter(row["article"] for row in rows())
    assert len(counts) == 20
    assert set(counts.values()) == {10}
    assert len({row["text"] for row in rows()}) == 200


def test_lines_are_sentences_of_plain_text() -> None:
    for row in rows():
        text = row["text"]
        assert 12 <= len(text.split()) <= 60, text
        assert text[0].isupper(), text
        assert text.rstrip('"').endswith((".", "?", "!")), text
        assert not re.search(r"<unk>|@| [.,;:?!)%]|\( ", text), text
        assert text.count('"') % 2 == 0, text
