"""What the rungs of a ladder are called: the names stand in tables and are the names of their folders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from rung.methods.base import Method
from rung.models.references import bare_name

_WORD = 24
"""Most characters that one setting adds to a name."""


def rung_names(pairs: Sequence[tuple[str | None, Method]]) -> list[str]:
    """A name for each pair of a model (None = none) and a method, unique among them.

    It is `lora-minilm`. Where a model has a method several times, the settings that were written and are not the same
    for all of them stand between: `adapter-houlsby-minilm`, `lora-dora-minilm`, `lora-r-8-minilm`. Pairs that are alike
    all the same are numbered.
    """
    short = _short_names([model for model, _ in pairs])
    alike: dict[tuple[str | None, str], list[dict[str, Any]]] = {}
    for model, method in pairs:
        alike.setdefault((model, method.name), []).append(dict(_written(method)))
    taken: Counter[str] = Counter()
    names = []
    for model, method in pairs:
        words = _telling(dict(_written(method)), alike[model, method.name])
        name = "-".join([method.name, *words, *([short[model]] if short[model] else [])])
        taken[name] += 1
        names.append(name if taken[name] == 1 else f"{name}-{taken[name]}")
    return names


def _written(settings: BaseModel) -> Iterator[tuple[str, Any]]:
    """The settings that the user wrote, by name; those of a section one by one."""
    for key in type(settings).model_fields:
        if key in settings.model_fields_set and key != "type":
            value = getattr(settings, key)
            if isinstance(value, Mapping):
                yield from ((str(inner), held) for inner, held in value.items())
            else:
                yield key, value


def _telling(settings: Mapping[str, Any], alike: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings that tell a method from those beside it, a word each."""
    words = []
    for key, value in settings.items():
        if all(key in other and other[key] == value for other in alike):
            continue
        if value is True:
            words.append(key.removeprefix("use_"))
        elif isinstance(value, str):
            words.append(value)
        elif value is not False and value is not None:
            words.append(f"{key} {value}")
    return [_clean(word)[:_WORD].strip("-") for word in words]


def _clean(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-")


def _short_names(models: Sequence[str | None]) -> dict[str | None, str]:
    """Each model's first word, or its whole last part where two models begin alike."""
    whole = {
        model: re.sub(r"[^A-Za-z0-9.]+", "-", bare_name(model)).strip("-") for model in models if model is not None
    }
    first = {model: name.split("-", 1)[0] for model, name in whole.items()}
    alike = Counter(first.values())
    return {None: ""} | {model: first[model] if alike[first[model]] == 1 else whole[model] for model in whole}
