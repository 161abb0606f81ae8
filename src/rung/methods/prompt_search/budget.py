"""How much a search may spend."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from rung.config.base import Config
from rung.methods.bench import Limits


class Budget(Config):
    """Whichever ends first ends the search."""

    evaluations: int | None = Field(default=None, ge=1)
    """A prompt on a row, counted once however often it is asked for."""
    tokens: int | None = Field(default=None, ge=1)
    """Tokens read and written."""
    seconds: float | None = Field(default=None, gt=0)
    """Seconds of computing; with this alone the result depends on the machine's speed."""
    cost: float | None = Field(default=None, gt=0)
    """Money, at `price_per_million_tokens`."""
    price_per_million_tokens: float | None = Field(default=None, gt=0)
    """What a million tokens cost, in the currency of `cost`."""

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.evaluations is self.tokens is self.seconds is self.cost is None:
            raise ValueError(
                "the budget is empty: set evaluations, tokens, seconds or cost, for example evaluations=2000"
            )
        if self.cost is not None and self.price_per_million_tokens is None:
            raise ValueError(f"cost={self.cost:g} says nothing without a price: set price_per_million_tokens too")
        return self

    def limits(self) -> Limits:
        """As evaluations, tokens and seconds."""
        most = [] if self.tokens is None else [self.tokens]
        if self.cost is not None and self.price_per_million_tokens is not None:
            most.append(int(1e6 * self.cost / self.price_per_million_tokens))
        return Limits(self.evaluations, min(most) if most else None, self.seconds)
