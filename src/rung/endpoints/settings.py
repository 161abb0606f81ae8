"""How an endpoint is asked, and what it charges."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from rung.config.base import Config


class Prices(Config):
    """What a million tokens cost, in a currency of the user's choice."""

    input: float = Field(ge=0)
    """A million tokens that are read."""
    output: float = Field(ge=0)
    """A million tokens that are written."""

    def of(self, input_tokens: float, output_tokens: float) -> float:
        """The money that so many tokens cost."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


class EndpointConfig(Config):
    """How a model of the kind `openai:model@url` is asked; models on this machine have no use for it."""

    api: Literal["auto", "chat", "completions"] = "auto"
    """What is called: chat/completions, completions, or the first of the two that is there."""
    logprobs: Literal["auto", "echo", "top", "never"] = "auto"
    """How a label is found: `echo` = every whole answer is scored (completions), `top` = from the likeliest tokens,
    `never` = the answer is written and read; auto = the first of these that the server offers."""
    api_key_env: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the key; where it is not set, none is sent. The key is written nowhere."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Requests under way at one time."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds until a request is given up, and tried again."""
    max_retries: int = Field(default=6, ge=0, le=50)
    """How often a request is tried again."""
    backoff: float = Field(default=0.5, gt=0)
    """Seconds before the first new try, twice as many before each further one, 30 at most; Retry-After goes before."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Most requests a minute; None = no limit."""
    tokens_per_minute: float | None = Field(default=None, gt=0)
    """Most tokens a minute, read and written; None = no limit."""
    prices: Prices | None = None
    """What tokens cost; None = tokens are counted, money is not."""

    def deciding(self) -> dict[str, Any]:
        """The settings that have a say in the answers; speed, patience and prices have none."""
        return self.model_dump(mode="json", include={"api", "logprobs"})
