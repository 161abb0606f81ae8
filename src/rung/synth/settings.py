"""Settings of `rung data synth`."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rung.config.base import Config
from rung.endpoints.settings import EndpointConfig

Style = Literal["chat", "continuation"]
"""How a model is asked: as a user asks an assistant, or with a text that it writes on."""


class Filters(Config):
    """What is rejected."""

    language: str = "en"
    """`en`: what doesn't look like English, by its script and its function words. Another ISO 639-1 code: what is not
    in that language, by the library py3langid. `any`: nothing."""
    least_words: int = Field(default=4, ge=1)
    """Words of an instruction at least."""
    most_words: int = Field(default=150, ge=1)
    """Words of an instruction at most."""
    most_output_words: int = Field(default=300, ge=1)
    """Words of an output at most."""
    similarity: float = Field(default=0.7, gt=0, le=1)
    """ROUGE-L to a seed or an earlier instruction from which one is rejected."""
    unsuited: tuple[str, ...] = (
        "image", "images", "picture", "pictures", "photo", "graph", "graphs", "chart", "diagram", "video", "audio",
        "file", "files", "map", "maps", "draw", "plot",
    )  # fmt: skip
    """Words of tasks that text alone can't do."""
    most_repeated: float = Field(default=0.4, ge=0, le=1)
    """Share of an output's runs of four words that repeat an earlier one, at most: beyond it the model went round."""
    least_support: float = Field(default=0.7, ge=0, le=1)
    """Share of an answer's content words that its passage must hold (`documents`)."""
    refusals: bool = True
    """Outputs that decline the task."""
    toxic: bool = True
    """Texts with slurs, threats or abuse, by a short list of words."""

    @field_validator("language")
    @classmethod
    def _is_code(cls, code: str) -> str:
        if code != "any" and not re.fullmatch("[a-z]{2}", code):
            raise ValueError(f"language={code} is no code of two letters: en, de, zh, ...; or any")
        return code


class Budget(Config):
    """Where to stop; None = nowhere. A batch that could pass a limit is not asked; seconds are seen after a batch."""

    requests: int | None = Field(default=None, ge=0)
    """Requests to the model."""
    tokens: int | None = Field(default=None, ge=0)
    """Tokens read and written."""
    seconds: float | None = Field(default=None, ge=0)
    """Seconds of the model's work."""
    money: float | None = Field(default=None, ge=0)
    """By `endpoint.prices`."""


class SynthConfig(Config):
    """Rows of `instruction`, `input` and `output`, grown from seeds or from the user's documents."""

    seed_file: str | None = None
    """Tasks to start from: self-instruct's seeds (`instruction`, `instances`), or rows of instructions and outputs."""
    documents: tuple[str, ...] = ()
    """Text files, or files of rows, of which questions and answers are made, in place of a seed file."""
    model: str = "smollm2-135m-instruct"
    """A decoder on this machine (any model reference), or `openai:MODEL@URL`."""
    style: Literal["auto", "chat", "continuation"] = "auto"
    """How it is asked; auto = `continuation` on this machine and `chat` behind an API."""
    wanted: int = Field(default=100, ge=1)
    """Accepted rows to stop at."""
    rounds: int = Field(default=200, ge=1)
    """Most rounds."""
    requests_per_round: int = Field(default=8, ge=1, le=256)
    """Prompts for new instructions (or passages asked about) in a round; they are asked at one time."""
    tasks_per_request: int = Field(default=8, ge=1, le=50)
    """Instructions that a prompt asks for."""
    temperature: float = Field(default=0.7, ge=0, le=2)
    """At which instructions and questions are written."""
    answer_temperature: float = Field(default=0.0, ge=0, le=2)
    """At which inputs and outputs are written."""
    top_p: float = Field(default=0.9, gt=0, le=1)
    """Share of probability that tokens are drawn from."""
    max_new_tokens: int = Field(default=256, ge=8)
    """Most tokens of one answer."""
    passage_words: int = Field(default=150, ge=20)
    """Words of a passage at most."""
    seed: int = Field(default=0, ge=0)
    """Of all that is left to chance."""
    filters: Filters = Filters()
    """What is rejected."""
    against: tuple[str, ...] = ()
    """Files of test rows: what says the same, nearly, or shares 13 words in a row with them is rejected."""
    budget: Budget = Budget()
    """Where to stop."""
    endpoint: EndpointConfig = EndpointConfig()
    """How an endpoint is asked, and its prices."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Dtype of a model on this machine."""
    device: str = "auto"
    """`cpu`, `cuda`, `mps`, or auto."""
    num_threads: int | None = Field(default=None, ge=1)
    """Threads of the CPU; None = all cores. Another number rounds differently, and may draw other tokens."""
    output_dir: str = "synth"
    """The folder of the rows."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.seed_file is None) == (not self.documents):
            both = "are both set: set one of them" if self.documents else "are both missing: set one of them"
            raise ValueError(f"seed_file and documents {both}")
        if self.budget.money is not None and self.endpoint.prices is None:
            raise ValueError(f"budget.money={self.budget.money} needs prices: set endpoint.prices.input and .output")
        return self

    @property
    def asks_endpoint(self) -> bool:
        """Whether the model is behind an API."""
        return self.model.startswith("openai:")

    def identity(self) -> dict[str, Any]:
        """The settings that decide what is asked and accepted; how much, where and for how much money do not."""
        beside = {"wanted", "rounds", "budget", "output_dir", "endpoint"}
        settings = self.model_dump(mode="json", exclude=beside)
        return settings | ({"endpoint": self.endpoint.deciding()} if self.asks_endpoint else {})
