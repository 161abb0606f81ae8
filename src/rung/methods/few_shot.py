"""Few-shot in-context learning (Brown et al. 2020, arXiv 2005.14165)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rung.errors import ConfigError
from rung.methods.base import PromptMethod, Scorer
from rung.methods.bench import Bench
from rung.methods.calibration import calibrated
from rung.methods.shots.arrangement import Tried, best, orders, tried
from rung.methods.shots.pool import fitting, pooled
from rung.methods.shots.selection import LARGEST, Selection, sampled, select, solved
from rung.methods.tuning import Tuning
from rung.tasks.base import Task
from rung.types import Prompt, Record

LONGEST_SHARE = 0.5
"""Shots may take at most this share of the context; the rest is for the text that is asked about."""

_CONTEXTS = 8
"""Requests whose shots a pool's prior is averaged over."""


class FewShot(PromptMethod):
    """Show solved examples."""

    type: Literal["few_shot"] = "few_shot"
    num_shots: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], ...] = 8
    """Solved examples in the prompt; a list: the number that scores best on validation rows."""
    selection: Selection = "balanced"
    """Which rows: `balanced` (as many of each label as of any other), `random`, `diverse` (balanced, by rows that
    together stand for all), `nearest` (for each request the rows most like it)."""
    order: Literal["fixed", "similarity", "validation"] | None = None
    """`fixed` as drawn; `similarity` the most like the request last; `validation` the best of `num_orders` seeded
    orders on validation rows. None = similarity with nearest, else fixed."""
    num_orders: int = Field(default=8, ge=2)
    """Orders that `order: validation` tries."""
    encoder: str = "minilm-l6"
    """The encoder that tells likeness, for `nearest`, `diverse` and `similarity`."""
    calibration: bool = True
    """Contextual calibration (Zhao et al. 2021)."""
    chat_template: bool = True
    """Whether turns are written in the model's own chat template; False = as plain text."""
    max_validation_rows: int = Field(default=200, ge=8)
    """Validation rows that numbers and orders of shots are compared on."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.selection == "nearest" and self.order == "validation":
            raise ValueError(
                "order=validation with selection=nearest: every request has shots of its own. Take similarity or fixed"
            )
        if isinstance(self.num_shots, tuple) and (not self.num_shots or len(set(self.num_shots)) < len(self.num_shots)):
            raise ValueError("num_shots is a list: name one number or more, none of them twice")
        return self

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers of shots to choose from, the fewest first."""
        return tuple(sorted(self.num_shots)) if isinstance(self.num_shots, tuple) else (self.num_shots,)

    @property
    def by_request(self) -> bool:
        """Whether the shots, or their order, depend on the request."""
        return self.selection == "nearest" or self.order == "similarity"

    def fit(
        self, scorer: Scorer, task: Task, train: Sequence[Record], seed: int, tuning: Tuning | None = None
    ) -> Prompt:
        """Choose the shots from training rows; their number and order, if asked, by validation rows.

        Raises:
            ConfigError: When they don't fit the context; says how many do.
        """
        prompts = self._prompts(scorer, task, train, seed)
        compares = len(prompts) > 1 or self.order == "validation"
        if tuning is None or not compares:
            chosen = prompts[-1]
            chosen = self._calibrated(scorer, task, chosen, train, seed) if self.calibration and task.labels else chosen
        else:
            chosen = self._best(Bench(scorer, task, tuning, seed, self.max_validation_rows), prompts, train, seed)
        if tuning is not None:
            tuning.found |= {"method": "few_shot", "selection": self.selection, "order": self._order(), "seed": seed}
            tuning.found["shots"] = len(chosen.shots) if chosen.pool is None else chosen.pool.count
            tuning.found["encoder"] = self.encoder if self.by_request or self.selection == "diverse" else None
        return chosen

    def _order(self) -> str:
        return self.order or ("similarity" if self.selection == "nearest" else "fixed")

    def _prompts(self, scorer: Scorer, task: Task, train: Sequence[Record], seed: int) -> list[Prompt]:
        """A prompt for each number of shots, the fewest first."""
        plain = replace(task.prompt, chat_template=self.chat_template)
        room = int(scorer.max_length * LONGEST_SHARE)
        most = self.counts[-1]
        if self.selection == "nearest":
            rows = sampled(task, train, LARGEST, seed)
            if len(rows) <= most:
                raise ConfigError(
                    f"method.num_shots={most} with selection=nearest and only {len(rows)} labelled training rows",
                    "Use fewer shots.",
                )
            kept, _ = fitting(scorer, task, rows, plain, most, room)
            whole = pooled(task, kept, plain, most, self.encoder, self._order() == "similarity")
            assert whole.pool is not None
            return [replace(whole, pool=replace(whole.pool, count=count)) for count in self.counts]
        drawn = select(self.selection, task, train, most, seed, self.encoder)
        prompt = replace(plain, shots=tuple(solved(task, record) for record in drawn))
        self._check_room(scorer, task.content_free(train[0], ""), prompt, room)
        if self._order() == "similarity":
            return [pooled(task, drawn[:count], plain, count, self.encoder, True) for count in self.counts]
        return [replace(prompt, shots=prompt.shots[:count]) for count in self.counts]

    def _best(self, bench: Bench, prompts: Sequence[Prompt], train: Sequence[Record], seed: int) -> Prompt:
        """The best number of shots, then the best order of them."""
        found = bench.tuning.found
        calibrate = self.calibration and not self.by_request
        curve = [tried(bench, prompt, calibrate) for prompt in prompts]
        at = best(curve)
        if len(curve) > 1:
            found["curve"] = [
                {"num_shots": count, **one.numbers()} for count, one in zip(self.counts, curve, strict=True)
            ]
        chosen = curve[at].prompt
        if self.order == "validation":
            permuted = orders(prompts[at], self.num_orders, seed)
            ranked: list[Tried] = [tried(bench, prompt, calibrate) for _, prompt in permuted]
            found["orders"] = [
                {"order": order, **one.numbers()} for (order, _), one in zip(permuted, ranked, strict=True)
            ]
            chosen = ranked[best(ranked)].prompt
        found |= {"rows": len(bench.records), "spent": asdict(bench.spent)}
        if self.calibration and self.by_request and bench.task.labels:
            return self._calibrated(bench.scorer, bench.task, chosen, train, seed)
        return chosen

    def _calibrated(self, scorer: Scorer, task: Task, prompt: Prompt, train: Sequence[Record], seed: int) -> Prompt:
        """What the prompt makes the model say about nothing, on average over the shots that requests are shown."""
        if prompt.pool is None:
            return calibrated(scorer, task, prompt, train[0])
        contexts = [task.prompt_for(record, prompt) for record in sampled(task, train, _CONTEXTS, seed)]
        priors = [calibrated(scorer, task, context, train[0]).calibration or () for context in contexts]
        means = [sum(column) / len(column) for column in zip(*priors, strict=True)]
        return replace(prompt, calibration=tuple(means) or None)

    def _check_room(self, scorer: Scorer, record: Record, prompt: Prompt, room: int) -> None:
        counts = [
            scorer.count_tokens(record, replace(prompt, shots=prompt.shots[:number]))
            for number in range(len(prompt.shots) + 1)
        ]
        if counts[-1] > room:
            fit = sum(count <= room for count in counts) - 1
            raise ConfigError(
                f"method.num_shots={len(prompt.shots)}: the prompt takes {counts[-1]} tokens, and {room} of the "
                f"model's {scorer.max_length} are for the shots",
                f"{fit} of these shots fit: set num_shots={fit}."
                if fit > 0
                else "Not one of them fits: take zero_shot.",
            )
