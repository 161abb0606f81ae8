"""How good written answers are: pure functions of the right text and the written one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

import regex

from rung.data.content import normalise
from rung.errors import ConfigError, DataError

SEARCHED = 4096
"""Characters at the end of a text in which a final answer is looked for: what a pattern may cost is bounded."""

_SECONDS = 2.0
_WORD = regex.compile(r"\w+")
_AROUND_NUMBERS = " $€£%."
_NUMBER = regex.compile(r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<![\w.])-?\.\d+")


class AnswerPattern:
    """Finds the final answer in a text.

    The pattern is the user's, the texts are a model's: a search that takes too long for its text is an error, never
    a wait and never another answer.

    Args:
        source: A regular expression with one group.

    Raises:
        ConfigError: It is no regular expression, or has another number of groups.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        try:
            self._compiled = regex.compile(source)
        except regex.error as error:
            raise ConfigError(
                f"task.answer_pattern={source!r} is no regular expression: {error}", "Mend it, or leave it out."
            ) from error
        if self._compiled.groups != 1:
            raise ConfigError(
                f"task.answer_pattern={source!r} has {self._compiled.groups} groups",
                "Put one pair of parentheses around the answer; (?:...) groups without counting.",
            )

    def find(self, text: str) -> str | None:
        """What the group holds in the last match in the text's end, or None.

        Raises:
            DataError: The search takes too long.
        """
        found = None
        try:
            for match in self._compiled.finditer(text[-SEARCHED:], timeout=_SECONDS):
                found = match.group(1)
        except TimeoutError as error:
            raise DataError(
                f"task.answer_pattern={self.source!r} takes more than {_SECONDS:g} s on one text",
                "Write it without a repetition inside a repetition, such as (a+)+.",
            ) from error
        return found


def exact_match(truth: Sequence[str], written: Sequence[str], pattern: AnswerPattern | None = None) -> list[float]:
    """1 for each row whose final answers are the same, as numbers or else as normalised text.

    Args:
        truth: The right texts.
        written: The written ones, in the same order.
        pattern: Finds the final answer; a written text without one is wrong. None = the whole text.
    """
    pairs = zip(truth, written, strict=True)
    return [float(same_answer(*(_final(text, pattern) for text in pair))) for pair in pairs]


def same_answer(right: str | None, answer: str | None) -> bool:
    """Whether two answers are the same: equal numbers (1,000 and $1000.00), else equal text once normalised."""
    if right is None or answer is None:
        return False
    numbers = _number(right), _number(answer)
    return numbers[0] == numbers[1] if None not in numbers else normalise(right) == normalise(answer)


def last_number(text: str) -> str | None:
    """The last number in a text's end (`-1,000.5`), or None; digits inside a word (`h2o`) are none."""
    found = _NUMBER.findall(text[-SEARCHED:])
    return found[-1] if found else None


def token_f1(right: str, written: str) -> float:
    """Harmonic mean of the shares of words that two texts have in common, repeats counted.

    Words are runs of letters and digits in the normalised text; two texts without any are the same.
    Method: Rajpurkar et al. 2016, arXiv 1606.05250, without its English stop words.
    """
    expected, found = (Counter(_WORD.findall(normalise(text))) for text in (right, written))
    if not expected or not found:
        return float(expected == found)
    common = (expected & found).total()
    return 2 * common / (expected.total() + found.total())


def _final(text: str, pattern: AnswerPattern | None) -> str | None:
    return text if pattern is None else pattern.find(text)


def _number(text: str) -> Decimal | None:
    plain = normalise(text).strip(_AROUND_NUMBERS).replace(",", "")
    try:
        number = Decimal(plain)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
