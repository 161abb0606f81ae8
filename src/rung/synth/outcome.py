"""What became of every proposal: accepted, rejected for a reason, or more than was wanted; the sums are checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rung.data.content import digest
from rung.synth.filters import REASONS, Contamination, wrong_output
from rung.synth.settings import Filters
from rung.synth.similar import Pool, Rows


@dataclass(slots=True)
class Proposal:
    """A row in the making.

    Attributes:
        instruction: The task, or the question.
        provenance: Who wrote it, when, from what.
        input: What it is asked of; "" where there is nothing.
        output: The answer.
    """

    instruction: str
    provenance: dict[str, Any]
    input: str = ""
    output: str = ""

    @property
    def id(self) -> str:
        """A short name of its texts."""
        return digest("\x1f".join((self.instruction, self.input, self.output)))[:16]

    def row(self) -> dict[str, Any]:
        """As it is written: what `task: generation` reads as an Alpaca row."""
        texts = {"instruction": self.instruction, "input": self.input, "output": self.output}
        return {**texts, "id": self.id, "provenance": self.provenance}


@dataclass(slots=True)
class Outcome:
    """Where each proposal went.

    Attributes:
        wanted: Rows to accept.
        filters: What is rejected.
        contamination: Test rows.
        pool: Instructions that new ones must differ from.
        accepted: The rows.
        rejected: The others, each with its reason.
        surplus: Good ones beyond what was wanted.
        proposals: All of them.
    """

    wanted: int
    filters: Filters
    contamination: Contamination
    pool: Pool
    accepted: list[Proposal] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    surplus: int = 0
    proposals: int = 0
    _rows: Rows = field(default_factory=Rows)

    def propose(self, instruction: str, provenance: dict[str, Any]) -> Proposal:
        """Count a proposal, which must then be rejected or settled."""
        self.proposals += 1
        return Proposal(instruction, provenance)

    def reject(self, proposal: Proposal, reason: str, like: str | None = None) -> None:
        """Reject a proposal.

        Args:
            proposal: The proposal.
            reason: One of `REASONS`.
            like: What it is too like, where that is the reason.
        """
        assert reason in REASONS, f"unknown reason {reason!r}"
        body = {"reason": reason, **proposal.row()}
        self.rejected.append(body if like is None else {**body, "like": like})

    def settle(self, filled: Sequence[Proposal]) -> None:
        """Accept the filled proposals of a round, in their order, or reject them."""
        filters = self.filters
        texts = ["\n".join((one.instruction, one.input, one.output)) for one in filled]
        near = self._rows.begin_round(texts)
        held = self.contamination.held([(one.instruction, one.input, one.output) for one in filled])
        for number, (one, text) in enumerate(zip(filled, texts, strict=True)):
            reason = wrong_output(one.instruction, one.input, one.output, filters)
            if reason is None and (number in near or self._rows.repeats_this_round(text)):
                reason = "near_duplicate"
            if reason is None and number in held:
                reason = "contaminated"
            if reason is not None:
                self.reject(one, reason)
            elif len(self.accepted) < self.wanted:
                self.accepted.append(one)
                self.pool.add(one.instruction)
                self._rows.add(text)
            else:
                self.surplus += 1

    @property
    def reasons(self) -> dict[str, int]:
        """Reason to the number of proposals rejected for it, the most frequent first."""
        return dict(Counter(one["reason"] for one in self.rejected).most_common())

    def check(self) -> None:
        """Check that each proposal is in one place.

        Raises:
            AssertionError: One is in none.
        """
        placed = len(self.accepted) + len(self.rejected) + self.surplus
        assert placed == self.proposals, f"{self.proposals} proposals, but {placed} are placed"
