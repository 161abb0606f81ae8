"""Every pair that is refused, found by asking: the checks of a run on a tiny model of each family."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, get_args

import torch

from docs.tiny import FAMILIES, KINDS, table, tiny_families
from rung.errors import RungError
from rung.methods.base import WeightMethod
from rung.methods.union import AnyMethod
from rung.models.families import Family
from rung.models.quiet import quiet_transformers
from rung.objectives.union import AnyObjective
from rung.run.config import RunConfig
from rung.run.validate import validate
from rung.tasks.union import AnyTask

_ENDPOINT = "openai:model@http://localhost:1/v1"
_SETTINGS: dict[str, dict[str, Any]] = {
    "soft_prompt": {"num_virtual_tokens": 3},
    "prefix": {"num_virtual_tokens": 3},
    "adapter": {"reduction_factor": 8},
    "lora": {"r": 2},
    "peft": {"config": {"peft_type": "LORA", "r": 2, "target_modules": "all-linear"}},
    "top_layers": {"num_layers": 1},
}
"""What a method is given where its own values are too large for models of two layers, or where it has none."""

Setting = tuple[str, str]
"""Task and objective."""


def page() -> str:
    """The text of `docs/refusals.md`."""
    with tempfile.TemporaryDirectory() as made:
        rows = list(_rows(_found(Path(made))))
    return f"""# What is refused, and why

Every method is asked with every family of models, every task and every objective; what is not in this table works. The
message is what the command line prints, with METHOD, MODEL and TASK for the names. Most refusals come before a weight
is loaded, all before the first step.

{table(("method", "model", "with", "the message", "what to do"), rows)}

Decoders are {", ".join(KINDS["decoders"])};
encoders {", ".join(KINDS["encoders"])};
encoder-decoders {", ".join(KINDS["encoder-decoders"])};
`endpoint` is a model behind an API. Settings that don't fit a model (a rank larger than its layers, more virtual tokens
than it reads) are refused by their values, with what would fit.

Made by `python -m docs` (or `make docs`) from the code's own checks.
"""


def _names(union: Any) -> list[str]:
    """The `type` of each choice of a union, in its order."""
    return [str(choice.model_fields["type"].default) for choice in get_args(get_args(union)[0])]


def _found(folder: Path) -> dict[tuple[str, str], dict[tuple[str, str], set[Setting]]]:
    """Message and advice to method and model to the tasks and objectives with which it is said."""
    built = {name: _write(folder / name, name) for name in FAMILIES}
    models = {**{name: str(folder / name) for name in FAMILIES}, "endpoint": _ENDPOINT}
    found: dict[tuple[str, str], dict[tuple[str, str], set[Setting]]] = {}
    for method, model in product(_names(AnyMethod), models):
        attached: RungError | bool | None = False
        for task, objective in product(_names(AnyTask), (*_names(AnyObjective), "")):
            config = _config(method, models[model], task, objective)
            error = _said(config)
            if error is None and isinstance(config.method, WeightMethod):
                attached = _attached(config.method, built[model]) if attached is False else attached
                error = attached
            if isinstance(error, RungError):
                words = _without_names(error, config, built.get(model))
                found.setdefault(words, {}).setdefault((method, model), set()).add((task, objective))
    return found


def _write(folder: Path, name: str) -> Family:
    """A tiny model as a folder, which the checks that load no weight read."""
    family = tiny_families().build(name, torch.float32)
    if name == "modernbert":
        family.module.config.local_attention = 128  # as the real ones have it
    with quiet_transformers():
        family.module.save_pretrained(folder)
    return family


def _config(method: str, model: str, task: str, objective: str) -> RunConfig:
    given = {
        "data": {"train": "rows.csv"},
        "method": {"type": method, **_SETTINGS.get(method, {})},
        "model": model,
        "task": {"type": task},
        "max_length": 32,
    }
    return RunConfig.model_validate(given | ({"objective": {"type": objective}} if objective else {}))


def _said(config: RunConfig) -> RungError | None:
    try:
        validate(config)
    except RungError as error:
        return error
    return None


def _attached(method: WeightMethod, family: Family) -> RungError | None:
    try:
        method.attach(tiny_families().build(_name(family), torch.float32), torch.nn.Linear(32, 2), 0)
    except RungError as error:
        return error
    return None


def _name(family: Family) -> str:
    return family.module.config.model_type.replace("-", "_")


def _without_names(error: RungError, config: RunConfig, family: Family | None) -> tuple[str, str]:
    """Message and advice, the same for all that differ in nothing but a name."""
    words = [(str(config.model), "MODEL"), (f"method={config.method.name}", "method=METHOD")]
    words.append((f"task={config.task.name}", "task=TASK"))
    if family is not None:
        words.append((family.module.config.model_type, "MODEL"))
    what, todo = error.what, error.todo
    for word, stands in words:
        alone = rf"(?<![\w-]){re.escape(word)}(?![\w-])"
        what, todo = re.sub(alone, stands, what), re.sub(alone, stands, todo) if stands == "MODEL" else todo
    return what, todo


def _rows(found: dict[tuple[str, str], dict[tuple[str, str], set[Setting]]]) -> Iterator[tuple[str, ...]]:
    """One row for all methods and models that a message is the same for, with the same tasks and objectives."""
    for (what, todo), places in found.items():
        by_method: dict[tuple[tuple[str, ...], frozenset[Setting]], list[str]] = {}
        for method in dict.fromkeys(method for method, _ in places):
            with_same: dict[frozenset[Setting], list[str]] = {}
            for (other, model), settings in places.items():
                if other == method:
                    with_same.setdefault(frozenset(settings), []).append(model)
            for settings, models in with_same.items():
                by_method.setdefault((tuple(models), settings), []).append(method)
        for (models, settings), methods in by_method.items():
            yield ", ".join(methods), _models(models), _with(settings), what, todo


def _models(names: tuple[str, ...]) -> str:
    """Names of models, kinds in one word."""
    if {*FAMILIES, "endpoint"} <= {*names}:
        return "any"
    said: list[str] = []
    for kind, members in KINDS.items():
        here = [name for name in members if name in names]
        said += [kind] if len(here) == len(members) else here
    return ", ".join([*said, *(name for name in names if name not in FAMILIES)])


def _with(settings: Iterable[Setting]) -> str:
    """Tasks and objectives in words; nothing where it is any."""
    tasks, objectives = _names(AnyTask), ("", *_names(AnyObjective))
    left = set(settings)
    if len(left) == len(tasks) * len(objectives):
        return ""
    whole = {f"task={task}": set(product([task], objectives)) for task in tasks}
    whole |= {_objective(objective): set(product(tasks, [objective])) for objective in objectives}
    said = [words for words, pairs in whole.items() if pairs <= left]
    covered = {pair for words in said for pair in whole[words]}
    return "; ".join([*said, *(f"task={task}, {_objective(one)}" for task, one in sorted(left - covered))])


def _objective(name: str) -> str:
    return f"objective={name}" if name else "no objective given"
