"""Column names people give to texts and labels, most telling first."""

from __future__ import annotations

TEXT_NAMES = (
    "text",
    "sentence",
    "message",
    "sms",
    "review",
    "question",
    "query",
    "content",
    "utterance",
    "comment",
    "tweet",
    "document",
    "headline",
    "description",
    "email",
    "body",
    "title",
    "input",
    "prompt",
    "v2",
)
"""Names of a column that holds the one text."""

PAIR_NAMES = (
    ("premise", "hypothesis"),
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text", "text_pair"),
    ("question", "passage"),
    ("question", "context"),
    ("query", "passage"),
)
"""Names of two columns that hold the two texts of a pair."""

LABEL_NAMES = (
    "label",
    "labels",
    "category",
    "intent",
    "class",
    "target",
    "kind",
    "sentiment",
    "topic",
    "tag",
    "type",
    "is_spam",
    "gold",
    "v1",
    "y",
)
"""Names of a column that holds the class."""

KNOWN_NAMES = frozenset(
    {*TEXT_NAMES, *LABEL_NAMES, *(name for pair in PAIR_NAMES for name in pair), "id", "answer", "output", "index"}
)
"""A first row with one of these is a header."""
