"""A decoder on this machine that writes on a text, or answers a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rung.compute.decode import Continuation, continued
from rung.compute.sampling import Sampling
from rung.errors import ConfigError
from rung.methods.adapted import Adapted
from rung.models.devices import resolve_device, resolve_dtype
from rung.models.facts import ModelFacts
from rung.models.tokenizer import end_of_turn_id, render_chats
from rung.run.prepare import settle_machine, untouched
from rung.run.start import open_model
from rung.synth.asking import Answer, Ask
from rung.synth.settings import Style, SynthConfig
from rung.types import Message

_ENDING_TOKENS = 12
"""Tokens at an answer's end in which a stop is looked for."""


class LocalModel:
    """Answers by drawing tokens, each request by its own seed; which run together depends on the requests alone.

    Args:
        config: The settings.
        facts: What is known of the model.
        choices: The machine's, as `machine` gives them.

    Raises:
        ConfigError: It is no decoder, or an answer leaves no room for a prompt.
    """

    def __init__(self, config: SynthConfig, facts: ModelFacts, choices: dict[str, Any]) -> None:
        if facts.kind != "decoder":
            raise ConfigError(
                f"model={config.model} is of kind {facts.kind}, and instructions are written by a decoder",
                "Name a decoder, such as smollm2-135m-instruct, or openai:MODEL@URL.",
            )
        if config.max_new_tokens >= facts.max_length:
            raise ConfigError(
                f"max_new_tokens={config.max_new_tokens} leaves no room for a prompt: {config.model} reads "
                f"{facts.max_length:,} tokens",
                "Lower it.",
            )
        self._config = config
        self._choices = choices
        self._longest = facts.max_length
        self._style: Style = "continuation" if config.style == "auto" else config.style
        self._opened: tuple[Adapted, Any, int] | None = None

    @property
    def style(self) -> Style:
        """How it is asked."""
        return self._style

    def bounds(self, asks: Sequence[Ask]) -> tuple[int, int]:
        """Tokens that answering reads, and may write."""
        return sum(map(len, self._prompts(asks))), sum(ask.max_new_tokens for ask in asks)

    def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        """One answer per request, in their order."""
        found: dict[int, Answer] = {}
        kinds = {(ask.temperature, ask.max_new_tokens, ask.stops) for ask in asks}
        for kind in sorted(kinds):
            rows = [row for row, ask in enumerate(asks) if (ask.temperature, ask.max_new_tokens, ask.stops) == kind]
            found |= dict(zip(rows, self._alike([asks[row] for row in rows], *kind), strict=True))
        return [found[row] for row in range(len(asks))]

    def _alike(
        self, asks: Sequence[Ask], temperature: float, max_new_tokens: int, stops: tuple[str, ...]
    ) -> list[Answer]:
        prompts = self._prompts(asks)
        model, _, stop = self._open()
        seeds = tuple(ask.seed for ask in asks)
        sampling = Sampling(seeds, temperature, self._config.top_p, self._enough(stops))
        model.evaluating()
        with torch.inference_mode():
            found = continued(model.family, prompts, stop, max_new_tokens, model.additions, sampling)
        return [self._read(one, len(prompt), stops) for one, prompt in zip(found, prompts, strict=True)]

    def _prompts(self, asks: Sequence[Ask]) -> list[list[int]]:
        """Token ids; a text that leaves no room for its answer loses its beginning."""
        tokenizer = self._open()[1]
        if self._style == "chat":
            chats = [(Message("user", ask.text),) for ask in asks]
            whole = render_chats(tokenizer, chats, add_generation_prompt=True)
        else:
            start = render_chats(tokenizer, [()], add_generation_prompt=True)[0]
            texts = tokenizer([ask.text for ask in asks], add_special_tokens=False, verbose=False)["input_ids"]
            whole = [[*start, *ids] for ids in texts]
        return [ids[-(self._longest - ask.max_new_tokens) :] for ids, ask in zip(whole, asks, strict=True)]

    def _enough(self, stops: tuple[str, ...]) -> Callable[[Sequence[int]], bool] | None:
        if not stops or self._style == "chat":
            return None
        return lambda ids: any(stop in self._text(ids[-_ENDING_TOKENS:]) for stop in stops)

    def _read(self, one: Continuation, read: int, stops: tuple[str, ...]) -> Answer:
        text = self._text(one.ids)
        if self._style == "continuation":
            text = text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]
        return Answer(text, one.stopped, read, len(one.ids))

    def _text(self, ids: Sequence[int]) -> str:
        tokenizer = self._open()[1]
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _open(self) -> tuple[Adapted, Any, int]:
        """The model, its tokenizer and what ends an answer: loaded when first asked, as a finished set asks nothing."""
        if self._opened is None:
            settle_machine(self._choices)
            opened = open_model(self._config.model, self._choices)
            tokenizer: Any = opened.loaded.tokenizer
            self._opened = untouched(opened), tokenizer, end_of_turn_id(tokenizer)
        return self._opened


def machine(config: SynthConfig, threads: int) -> dict[str, Any]:
    """The machine's choices: device, dtype, threads and instruction set; they have a say in the tokens drawn."""
    device = resolve_device(config.device)
    return {
        "device": device,
        "dtype": str(resolve_dtype(config.precision, device)).removeprefix("torch."),
        "threads": threads,
        "isa": torch.backends.cpu.get_cpu_capability(),
    }
