"""Why a proposal is rejected: one small function a reason; the first that objects names it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rung.data.contamination import Runs, runs
from rung.data.content import normalise
from rung.data.language import is_written_in
from rung.data.lexical import WORD, is_abusive, is_refusal, looks_english, repeated_share
from rung.data.near import near_matches
from rung.synth.settings import Filters

_LEAST_ANSWER = 8
"""Words from which it is told whether an output is English: names, numbers and code are shorter or none."""
_LEAST_JUDGED = 12
"""Words from which an output can go round in circles."""

_LEAST_COPIED = 5
"""Words from which a text alone is a copy: labels, numbers and names come up twice by themselves."""

_NOTHING = {"none", "n/a", "null", "no output"}

REASONS = {
    "unfinished": "cut off by max_new_tokens",
    "unasked": "the budget ended before it was filled in",
    "empty": "no instruction, question or passage could be read",
    "too_short": "fewer words than filters.least_words",
    "too_long": "more words than filters.most_words",
    "form": "doesn't begin with a word, or holds the prompt's own labels",
    "language": "not in filters.language",
    "unsuited": "asks for what text can't show (filters.unsuited)",
    "program": "asks for a program, as self-instruct leaves out",
    "similar": "ROUGE-L to a seed or an earlier instruction is filters.similarity or more",
    "toxic": "a word of the short list of abuse",
    "contaminated": "the same, nearly, or 13 words in a row as in a file of `against`",
    "no_output": "no output could be read, or it says nothing",
    "output_too_long": "more words than filters.most_output_words",
    "copied": "the output is the input or the instruction",
    "from_prompt": "the input or the output is that of a task shown in its own prompt",
    "repetitive": "repeats more of itself than filters.most_repeated",
    "refusal": "declines the task",
    "unsupported": "fewer of the answer's words stand in the passage than filters.least_support",
    "near_duplicate": "a near duplicate of an accepted row",
}
"""Reason to its words."""


def wrong_instruction(text: str, filters: Filters) -> str | None:
    """The reason to reject an instruction by itself, or None."""
    checks: tuple[Callable[[str, Filters], str | None], ...] = (_size, _form, _language, _suited, _toxic)
    return next((reason for check in checks if (reason := check(text, filters))), None)


def wrong_output(instruction: str, context: str, output: str, filters: Filters) -> str | None:
    """The reason to reject what an instruction was filled in with, or None."""
    words = WORD.findall(output)
    if not words or normalise(output).strip(" .") in _NOTHING:
        return "no_output"
    if len(words) > filters.most_output_words:
        return "output_too_long"
    if normalise(output) in {normalise(context), normalise(instruction)}:
        return "copied"
    if len(words) >= _LEAST_JUDGED and repeated_share(output) > filters.most_repeated:
        return "repetitive"
    if filters.refusals and is_refusal(output):
        return "refusal"
    told = filters.language != "en" or len(words) >= _LEAST_ANSWER
    if _language(context, filters) or (told and _language(output, filters)):
        return "language"
    return "toxic" if filters.toxic and (is_abusive(context) or is_abusive(output)) else None


def from_prompt(context: str, output: str, shown: Iterable[tuple[str, str]]) -> bool:
    """Whether what an instruction was filled in with is copied from a task that the prompt showed.

    Args:
        context: The input.
        output: The output.
        shown: Input and output of each task that was shown.
    """
    return any(
        (_same(context, given) and bool(context) and _same(output, right))
        or any(
            _same(*pair) and len(WORD.findall(pair[0])) >= _LEAST_COPIED for pair in ((context, given), (output, right))
        )
        for given, right in shown
    )


def _same(text: str, other: str) -> bool:
    return normalise(text).strip(" .") == normalise(other).strip(" .")


def supported(answer: str, passage: str, least: float) -> bool:
    """Whether so large a share of an answer's content words stands in its passage.

    Words of three letters and fewer are passed over, numbers are not; an answer of none but such is looked up whole.
    """
    known = set(_folded(passage))
    content = [word for word in _folded(answer) if len(word) > 3 or word.isdigit()]
    if not content:
        return normalise(answer).strip(" .") in normalise(passage)
    return sum(word in known for word in content) >= least * len(content)


class Contamination:
    """Texts of test rows, which nothing that is accepted may hold.

    Args:
        texts: The rows' texts.
    """

    def __init__(self, texts: list[str]) -> None:
        self._texts = sorted({normalise(text) for text in texts if WORD.search(text)})
        self._runs = Runs(self._texts)

    def held(self, rows: Sequence[tuple[str, str, str]]) -> set[int]:
        """Which rows say the same as a test row, nearly, or thirteen words in a row.

        Args:
            rows: Instruction, input and output of each.
        """
        if not self._texts or not rows:
            return set()
        asked = [(f"{instruction} {context}", instruction, context) for instruction, context, _ in rows]
        # All at once: the test rows' signatures are computed anew for each look.
        near = near_matches([normalise(text) for texts in asked for text in texts], self._texts)
        found = {query // 3 for query in near}
        for row, (texts, (_, _, output)) in enumerate(zip(asked, rows, strict=True)):
            if any(self._runs.shared(runs(normalise(text))) for text in (texts[0], output)):
                found.add(row)
        return found


def _size(text: str, filters: Filters) -> str | None:
    count = len(text.split())
    if not count:
        return "empty"
    return "too_short" if count < filters.least_words else "too_long" if count > filters.most_words else None


def _form(text: str, filters: Filters) -> str | None:
    labelled = any(label in text for label in ("Input:", "Output:", "Task:", "Question:", "Answer:"))
    return "form" if labelled or not text[0].isalnum() or not WORD.search(text) else None


def _language(text: str, filters: Filters) -> str | None:
    if filters.language == "any":
        return None
    fits = looks_english(text) if filters.language == "en" else is_written_in(text, filters.language)
    return None if fits else "language"


def _suited(text: str, filters: Filters) -> str | None:
    words = {word.casefold() for word in WORD.findall(text)}
    if words & set(filters.unsuited):
        return "unsuited"
    return "program" if text.casefold().startswith(("write a program", "write a python program")) else None


def _toxic(text: str, filters: Filters) -> str | None:
    return "toxic" if filters.toxic and is_abusive(text) else None


def _folded(text: str) -> list[str]:
    return [word.casefold() for word in WORD.findall(text)]
