"""Which column is the text and which is the label: by their names, else by what they hold; said aloud either way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rung.data.content import label_of
from rung.data.digests import Digests, distinct
from rung.data.names import LABEL_NAMES, PAIR_NAMES, TEXT_NAMES
from rung.data.readers import Table
from rung.errors import DataError, nearest

_LONGEST_LABEL = 40
_FEW_ROWS = 20


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a classification table.

    Attributes:
        text: The text.
        text_pair: The second text of a pair, or None.
        label: The class.
        reasons: Sentences for the user: how each was found.
        open: Whether the label is any text rather than a class; the second text may then be empty.
        turns: The columns of a conversation, from which the text and the label are made; none elsewhere.
    """

    text: str
    text_pair: str | None
    label: str
    reasons: tuple[str, ...] = ()
    open: bool = False
    turns: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The text columns: one, or two for a pair."""
        return (self.text,) if self.text_pair is None else (self.text, self.text_pair)

    @property
    def roles(self) -> dict[str, str]:
        """The task's name of each column there is."""
        if self.turns:
            return dict(
                zip(("messages",) if len(self.turns) == 1 else ("prompt", "completion"), self.turns, strict=True)
            )
        names = ("prompt", "context", "completion") if self.open else ("text", "text_pair", "label")
        found = zip(names, (self.text, self.text_pair, self.label), strict=True)
        return {name: column for name, column in found if column is not None}

    @property
    def needed(self) -> tuple[str, ...]:
        """The text columns that no row may leave empty."""
        return (self.text,) if self.open else self.texts


@dataclass(frozen=True, slots=True)
class _Profile:
    distinct: int
    filled: int
    mean_length: float

    @property
    def is_label(self) -> bool:
        """Whether the column may be a class: short values that come back."""
        most = self.filled // 2 if self.filled >= _FEW_ROWS else self.filled - 1
        return 2 <= self.distinct <= most and self.mean_length <= _LONGEST_LABEL


def infer_columns(table: Table, given: Mapping[str, str | None]) -> Columns:
    """Find the text, the second text and the label of a classification table.

    Args:
        table: The table.
        given: What the user set of `text`, `text_pair` and `label`; these are taken.

    Raises:
        DataError: A given column doesn't exist, two are the same, or no column fits.
    """
    for role, column in given.items():
        if column is not None:
            require_column(table, role, column)
    profiles = {column: _profile(table, column) for column in table.columns}
    text, pair, label = given.get("text"), given.get("text_pair"), given.get("label")
    reasons = list(table.notes)
    if label is None:
        label, reason = _find_label(table, profiles, taken=(text, pair))
        reasons.append(reason)
    if text is None:
        text, found_pair, reason = _find_text(table, profiles, taken=(label, pair))
        pair = pair or found_pair
        reasons.append(reason)
    roles = {"text": text, "text_pair": pair, "label": label}
    for role, column in roles.items():
        twin = next(other for other, same in roles.items() if same == column)
        if column is not None and twin != role:
            raise DataError(f"{role}={column} is also the {twin} column", f"Set task.{role} to another column.")
    return Columns(text, pair, label, tuple(reasons))


def require_column(table: Table, role: str, column: str) -> None:
    """Check that a table has a column.

    Raises:
        DataError: It has not; the message names the nearest one.
    """
    if column in table.columns:
        return
    match = nearest(column, table.columns)
    guess = f"Did you mean {match!r}? " if match else ""
    raise DataError(
        f"{role}={column}: no such column in {table.path}", f"{guess}Its columns: {', '.join(table.columns)}."
    )


def _profile(table: Table, column: str) -> _Profile:
    different, characters, filled = Digests(), 0, 0
    for record in table.records:
        if value := label_of(record, column):
            different.add(value)
            characters += len(value)
            filled += 1
    return _Profile(distinct(different.numbers()), filled, characters / max(1, filled))


def _find_label(table: Table, profiles: Mapping[str, _Profile], taken: Sequence[str | None]) -> tuple[str, str]:
    free = {column: profile for column, profile in profiles.items() if column not in taken}
    for column in _by_name(free, LABEL_NAMES):
        # A single class passes here, so that the check of the classes can say so.
        if free[column].is_label or free[column].distinct == 1:
            return column, f"Label column: {column} (by its name; {free[column].distinct:,} different values)."
    fitting = sorted(
        (profile.distinct, -place, column) for place, (column, profile) in enumerate(free.items()) if profile.is_label
    )
    if not fitting:
        counts = ", ".join(f"{name} ({profile.distinct:,} different)" for name, profile in profiles.items())
        raise DataError(
            f"{table.path}: no column looks like a label, with few values that come back: {counts}",
            "Set task.label to the column that holds the class.",
        )
    column = fitting[0][2]
    reason = f"Label column: {column} ({free[column].distinct:,} different values in {free[column].filled:,} rows"
    others = ", ".join(name for *_, name in fitting[1:])
    return column, reason + (f"; {others} would fit too: set task.label to choose)." if others else ").")


def _find_text(
    table: Table, profiles: Mapping[str, _Profile], taken: Sequence[str | None]
) -> tuple[str, str | None, str]:
    free = [column for column in table.columns if column not in taken and profiles[column].filled]
    if not free:
        raise DataError(
            f"{table.path}: no column is left for the text; its columns: {', '.join(table.columns)}",
            "Classification needs a text column and a label column: set task.text and task.label.",
        )
    by_lower = {column.lower(): column for column in free}
    for first, second in PAIR_NAMES:
        if first in by_lower and second in by_lower:
            text, pair = by_lower[first], by_lower[second]
            return text, pair, f"Text columns: {text} and {pair}, a pair (by their names)."
    named = _by_name(dict.fromkeys(free), TEXT_NAMES)
    if named:
        others = f"; {', '.join(named[1:])} would fit too: set task.text to choose" if named[1:] else ""
        return named[0], None, f"Text column: {named[0]} (by its name{others})."
    column = max(free, key=lambda name: profiles[name].mean_length)
    return column, None, f"Text column: {column} (longest: {profiles[column].mean_length:.0f} characters on average)."


def _by_name(columns: Mapping[str, object], names: Sequence[str]) -> list[str]:
    by_lower = {column.strip().lower(): column for column in columns}
    return [by_lower[name] for name in names if name in by_lower]
