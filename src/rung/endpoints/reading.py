"""From what an endpoint answers to a label: by the probability of its tokens, or by the text alone."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rung.errors import EndpointError

_AROUND = " \t\r\n\"'`*“”‘’«».,:;!"
"""What may stand around an answer and says nothing."""
_LEAST = 1e-9
"""No label is thought less likely than this: servers round."""


@dataclass(frozen=True, slots=True)
class Position:
    """A written token and what could have stood in its place.

    Attributes:
        token: Its text.
        log: Its log-probability.
        others: Text of a likely token to its log-probability.
    """

    token: str
    log: float
    others: Mapping[str, float]


class Reader:
    """Tells labels apart in what a model writes.

    Args:
        answers: `[C]` the labels' answers, in label order. Case is ignored unless two differ in it alone.
    """

    def __init__(self, answers: Sequence[str]) -> None:
        trimmed = [one.strip() for one in answers]
        folded = [one.casefold() for one in trimmed]
        self._folds = len(set(folded)) == len(folded)
        self._answers = folded if self._folds else trimmed

    @property
    def steps(self) -> int:
        """Tokens after which no two answers that differ can still look alike: 1 where they differ in their first sign.

        A token has at least one sign, and one may go to a space before the answer.
        """
        ordered = sorted(self._answers)
        shared = max(_common(one, other) for one, other in pairwise(ordered))
        return 1 if shared == 0 else min(shared + 2, 16)

    def logs(self, positions: Sequence[Position]) -> list[float] | None:
        """`[C]` log-probability that the answer begins as each label's does; None where no label is in sight.

        The written tokens are followed as far as they fit several labels. A token beside them that fits several is
        shared out evenly. A label that no listed token fits gets half of what it can have at most: the least listed
        probability, or what all listed tokens leave.
        """
        total = [0.0] * len(self._answers)
        text, log = "", 0.0
        fits = list(range(len(total)))
        for place in positions:
            for token, beside in place.others.items():
                if token != place.token:
                    _share(total, self._fitting(text + token), math.exp(log + beside))
            text, log = text + place.token, log + place.log
            fits = self._fitting(text)
            if len(fits) < 2:
                break
        ended = [label for label in fits if self._answers[label] == self._trimmed(text)]
        _share(total, ended or fits, math.exp(log))
        seen = [mass for mass in total if mass > 0]
        if not seen:
            return None
        listed = {**positions[0].others, positions[0].token: positions[0].log}
        left = 1 - math.fsum(map(math.exp, listed.values()))
        unseen = max(min(left, math.exp(min(listed.values())), *seen), _LEAST) / 2
        return [math.log(mass if mass > 0 else unseen) for mass in total]

    def label(self, text: str) -> int | None:
        """The label that a text names: as a whole, at its beginning, or as its only one; None where it names none."""
        said = self._trimmed(text)
        if said in self._answers:
            return self._answers.index(said)
        fits = self._fitting(said) if said else []
        if len(fits) == 1 and said.startswith(self._answers[fits[0]]):
            return fits[0]
        named = [at for at, one in enumerate(self._answers) if re.search(rf"(?<!\w){re.escape(one)}(?!\w)", said)]
        longest = [at for at in named if not any(self._is_in(at, other) for other in named)]
        return longest[0] if len(longest) == 1 else None

    def _fitting(self, text: str) -> list[int]:
        """Labels whose answers a text may still become; else the longest that it already holds at its beginning."""
        begun = self._case(text).lstrip(_AROUND)
        open_ = [at for at, one in enumerate(self._answers) if one.lstrip(_AROUND).startswith(begun)]
        if open_:
            return open_
        held = [
            at
            for at, one in enumerate(self._answers)
            if begun.startswith(one.lstrip(_AROUND)) and not begun[len(one.lstrip(_AROUND)) :][:1].isalnum()
        ]
        return sorted(held, key=lambda at: -len(self._answers[at]))[:1]

    def _trimmed(self, text: str) -> str:
        return self._case(text).strip(_AROUND)

    def _case(self, text: str) -> str:
        return text.casefold() if self._folds else text

    def _is_in(self, one: int, other: int) -> bool:
        return one != other and self._answers[one] in self._answers[other]


def _share(total: list[float], labels: Sequence[int], mass: float) -> None:
    """Add a mass to labels, evenly; what fits every label says nothing."""
    if len(labels) < len(total):
        for label in labels:
            total[label] += mass / len(labels)


def _common(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def positions_of(choice: Mapping[str, Any]) -> list[Position] | None:
    """The written tokens of an answer with their alternatives; None where the server gives no log-probabilities.

    Raises:
        EndpointError: They are not formed as the API has it.
    """
    found = choice.get("logprobs")
    if not found:
        return None
    try:
        if found.get("content") is not None:
            return [
                Position(
                    str(one["token"]),
                    float(one["logprob"]),
                    {str(top["token"]): float(top["logprob"]) for top in one.get("top_logprobs") or ()},
                )
                for one in found["content"]
            ]
        if found.get("top_logprobs") is None:
            return None
        rows = zip(found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True)
        return [
            Position(str(token), float(log), {str(other): float(value) for other, value in (tops or {}).items()})
            for token, log, tops in rows
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _unformed() from error


def echoed(choice: Mapping[str, Any]) -> float | None:
    """Log-probability of the scored end of an echoed prompt; None where the server does not echo it.

    Raises:
        EndpointError: It is not formed as the API has it.
    """
    found = choice.get("logprobs")
    if not found:
        return None
    logs = found.get("token_logprobs")
    if not logs or not all(isinstance(log, int | float) for log in logs):
        return None
    return math.fsum(logs)


def text_of(choice: Mapping[str, Any]) -> str:
    """What was written; nothing (None) as nothing.

    Raises:
        EndpointError: It is not formed as the API has it.
    """
    holder = choice.get("message", choice)
    text = holder.get("content" if "message" in choice else "text") if isinstance(holder, Mapping) else 0
    if text is not None and not isinstance(text, str):
        raise _unformed()
    return text or ""


def _unformed() -> EndpointError:
    return EndpointError(
        "the endpoint's answer is not formed as the API has it",
        "Set endpoint.logprobs=never, or another endpoint.api.",
    )
