"""Methods that train no weights, and models that have none to train, say what they can't do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rung.errors import ConfigError, IncompatibleError, RungError
from rung.run.config import RunConfig
from rung.run.validate import validate

NO_PROMPT = "prompts the model, and an encoder can't be prompted"
NO_WEIGHTS = ": it trains no weights"


def run_config(method: Mapping[str, Any], objective: str | None, folder: Path | str) -> RunConfig:
    body: dict[str, Any] = {"data": {"train": "a.csv"}, "method": method, "model": str(folder)}
    return RunConfig.model_validate(body | ({} if objective is None else {"objective": {"type": objective}}))


@pytest.mark.parametrize(
    ("method", "objective", "model", "error", "what"),
    [
        ("zero_shot", None, "bert", IncompatibleError, f"method=zero_shot {NO_PROMPT}"),
        ("few_shot", None, "bert", IncompatibleError, f"method=few_shot {NO_PROMPT}"),
        ("zero_shot", "causal_lm", "gpt2", ConfigError, f"objective=causal_lm with method=zero_shot{NO_WEIGHTS}"),
        ("tfidf", "causal_lm", "llama", ConfigError, f"objective=causal_lm with method=tfidf{NO_WEIGHTS}"),
    ],
)  # fmt: skip
def test_methods_without_weights_say_what_they_cannot(
    method: str, objective: str | None, model: str, error: type[RungError], what: str, tiny_models: dict[str, Path]
) -> None:
    with pytest.raises(error) as caught:
        validate(run_config({"type": method}, objective, tiny_models[model]))
    assert caught.value.what == what


def test_an_endpoint_has_no_weights_to_change() -> None:
    with pytest.raises(IncompatibleError) as caught:
        validate(run_config({"type": "lora"}, None, "openai:tiny@http://127.0.0.1:9/v1"))
    assert caught.value.what == "method=lora changes weights, and an endpoint's weights can't be reached"
