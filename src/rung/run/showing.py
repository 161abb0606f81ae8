"""Rows as a model will see them, token by token, before anything is paid for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rung.errors import ConfigError, IncompatibleError, unknown
from rung.evaluate.generating import predictor_for
from rung.evaluate.predictor import LocalPredictor
from rung.methods.base import PromptMethod, WeightMethod
from rung.run.config import RunConfig, objective_for
from rung.run.prepare import adapt, execution, prepare_data, settle_machine
from rung.run.start import open_model
from rung.run.supervision import marked
from rung.run.validate import validate
from rung.tasks.base import Task
from rung.types import IGNORED, Prompt, Record, Tokens

_LONGEST = 2_000
"""Tokens of a row that are shown; the middle of a longer one is left out."""


def shown_rows(config: RunConfig, split: str, count: int) -> Iterator[str]:
    """The first rows of a split, each as a head line with its counts and then its text.

    Args:
        config: The run.
        split: `train`, `validation` or `test`.
        count: Rows.

    Yields:
        A row in words; supervised tokens stand in `supervision.LEARNED`.

    Raises:
        ConfigError: There is no such split, or no row is asked for.
        IncompatibleError: The method reads no tokens.
    """
    if count < 1:
        raise ConfigError(f"--rows {count}: no row is asked for", "Give a number above 0.")
    facts = validate(config)
    if facts is None:
        raise IncompatibleError(
            f"method={config.method.name} has no tokens: it counts words", "Set a model and a method that reads them."
        )
    choices = execution(config, facts)
    settle_machine(choices)
    data, task = prepare_data(config)
    if split not in data.splits.named():
        raise ConfigError(unknown("split", split, data.splits.named()), "Set --split to one of them.")
    assert config.model is not None
    weights = config.method if isinstance(config.method, WeightMethod) else None
    opened = open_model(config.model, choices)
    objective = objective_for(config, facts.kind)
    adapted = adapt(weights, opened, task, objective, config.training.seed)
    predictor = predictor_for(adapted, opened.loaded.tokenizer, task, objective, int(choices["max_length"]))
    records = data.splits.named()[split][:count]
    if weights is not None:
        yield from _trained(predictor, task, records)
    else:
        assert isinstance(config.method, PromptMethod)
        prompt = config.method.fit(predictor, task, data.splits.train, config.training.seed)
        yield from _prompted(predictor, prompt, records)


def _trained(predictor: LocalPredictor, task: Task, records: Sequence[Record]) -> Iterator[str]:
    """Rows as the run learns from them."""
    for record, row in zip(records, predictor.rows(records, task.prompt), strict=True):
        tokens = sum(one.size for one in row.sequences)
        learned = sum(label != IGNORED for one in row.sequences for label in one.labels or ())
        target = f", target {task.truth(record)!r}" if row.target is not None and not learned else ""
        cut = f", {row.truncated} cut off" if row.truncated else ""
        head = f"{record.source}: {tokens:,} tokens, {learned} supervised{target}{cut}"
        yield "\n".join([head, *(marked(one, predictor.tokenizer, _LONGEST) for one in row.sequences)])


def _prompted(predictor: LocalPredictor, prompt: Prompt, records: Sequence[Record]) -> Iterator[str]:
    """Rows as the model is asked about them, with the answers that are scored."""
    for record in records:
        ids = predictor.request_ids(record, prompt)
        whole = predictor.count_tokens(record, prompt)
        room = predictor.max_length
        cut = f", {whole - room} cut off" if whole > room else ""
        answers = [
            f"answer {choice!r}: {_text(predictor.answer(choice, prompt.chat_template), predictor.tokenizer)}"
            for choice in prompt.verbalizer.values()
        ]
        head = f"{record.source}: {len(ids):,} prompt tokens{cut}"
        yield "\n".join([head, _text(ids, predictor.tokenizer), *answers])


def _text(ids: Sequence[int], tokenizer: Any) -> str:
    return marked(Tokens(tuple(ids)), tokenizer, _LONGEST)
