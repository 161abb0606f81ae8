"""What a row says, apart from how it is written: the basis of ids, duplicates and splits."""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
from collections.abc import Sequence
from typing import Any

from rung.types import Record

FIELD_END = "\x1f"
"""Stands between texts that are joined; no text holds it after normalisation."""


def normalise(text: str) -> str:
    """`text` in NFKC, case-folded, with runs of white space as one blank and none at the ends."""
    # Folding can undo the normal form (and the reverse), so it stands between two normalisations.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def as_text(value: Any) -> str:
    """A field's value as text: strings as they are, nothing (None, NaN) as "", lists and objects as JSON."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return str(value)


def label_of(record: Record, column: str) -> str:
    """The record's label as text without white space around it; "" when it has none."""
    return as_text(record.fields.get(column)).strip()


def texts_of(record: Record, columns: Sequence[str]) -> list[str]:
    """The normalised texts of `columns`."""
    return [normalise(as_text(record.fields.get(column))) for column in columns]


def text_of(record: Record, columns: Sequence[str]) -> str:
    """The normalised texts of `columns`, joined by a sign that no text holds after normalisation."""
    return FIELD_END.join(texts_of(record, columns))


def digest(text: str) -> str:
    """SHA-256 of `text`, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
