from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Rows = list[dict]
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty", "knoll", "lagoon"]


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., str]:
    """Writes rows as JSON lines and gives the path."""

    def write(rows: Rows, name: str = "rows.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


def _texts(count: int, salt: int) -> list[str]:
    """Texts of which no two are nearly alike."""
    return [
        " ".join(
            f"{WORDS[(number * 7 + salt * 5 + at) % len(WORDS)]}{number * 31 + salt * 1009 + at}" for at in range(8)
        )
        for number in range(count)
    ]


@pytest.fixture
def texts() -> Callable[[int, int], list[str]]:
    return _texts


@pytest.fixture
def body(write_rows: Callable[..., str]) -> dict[str, Any]:
    """Three sources: 300 reviews, 120 questions with a test file of 30, 90 pairs."""
    reviews = [{"text": text, "label": ("good", "bad")[at % 2]} for at, text in enumerate(_texts(300, 1))]
    asked = [{"question": f"{text}?", "answer": f"it is {at}"} for at, text in enumerate(_texts(150, 2))]
    pairs = [
        {"premise": one, "hypothesis": two, "label": ("entailment", "neutral", "contradiction")[at % 3]}
        for at, (one, two) in enumerate(zip(_texts(90, 3), _texts(90, 4), strict=True))
    ]
    return {
        "sources": [
            {"name": "reviews", "train": write_rows(reviews, "reviews.jsonl"), "type": "sentiment"},
            {
                "name": "quiz",
                "train": write_rows(asked[:120], "quiz.jsonl"),
                "test": write_rows(asked[120:], "quiz_test.jsonl"),
                "type": "qa_closed_book",
            },
            {"name": "pairs", "train": write_rows(pairs, "pairs.jsonl"), "type": "nli"},
        ]
    }
