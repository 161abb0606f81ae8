"""Writes the artifact folder; `run.json` comes last and makes it whole."""

from __future__ import annotations

import datetime
import json
import resource
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from rung.compute.output import OutputLayer
from rung.engine import fsio
from rung.engine.diskfaults import guard
from rung.errors import ArtifactError
from rung.methods.adapted import Adapted
from rung.methods.control import FittedControl
from rung.models.tokenizer import template_of, template_source
from rung.run.config import RunConfig
from rung.run.prepare import hardware, versions
from rung.tasks.prompts import prompt_body, prompt_from
from rung.types import Prompt

FORMAT = 1
TEMPLATE = "chat_template.jinja"
"""The chat template that the run was trained and scored with, whoever wrote it."""
POOL_FILE = "prompt_pool.safetensors"
"""The embeddings of a prompt's pool of examples."""
_NOT_ANSWERING = {
    *("given.json", "run.json", "metrics.json", "cost.json", "plan.json", "find_lr.json"),
    *("search.json", "prompt.txt", "prompt_messages.json"),
}


@dataclass(slots=True)
class Ledger:
    """`cost.json`: what the run took and what each request will take (seconds, bytes, counts).

    `endpoint` holds the requests, tokens and money of a model behind an API (see `rung.endpoints.spending`).
    """

    train_seconds: float = 0.0
    seconds_per_step: float | None = None
    load_seconds: float = 0.0
    tokenize_seconds: float = 0.0
    eval_seconds: float = 0.0
    search_seconds: float = 0.0
    peak_memory_bytes: int = 0
    optimizer_bytes: int = 0
    trainable_parameters: int = 0
    artifact_bytes: int = 0
    flops: float = 0.0
    tokens: int = 0
    seconds_per_request: float = 0.0
    tokens_per_request: float | None = 0.0
    endpoint: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Findings:
    """What a run has to say besides its weights."""

    metrics: Mapping[str, Any]
    predictions: str
    golden: list[dict[str, Any]]
    cost: Ledger = field(default_factory=Ledger)


def peak_memory() -> int:
    """Most bytes this process held: on the accelerator when there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def write_adapted(folder: Path, adapted: Adapted, tokenizer: Any) -> int:
    """Write the weights, the head and the configs; gives the bytes of the weights."""
    files: dict[str, bytes] = {}
    tensors = {name: value.detach().cpu().contiguous() for name, value in adapted.state().items()}
    if tensors:
        files[adapted.weights_file] = save(tensors, {"format": "pt"})
    if isinstance(adapted.head, OutputLayer):
        heads = {name: value.detach().cpu().contiguous() for name, value in adapted.head.state_dict().items()}
        files["head.safetensors"] = save(heads, {"format": "pt"})
        fsio.write_json(folder / "head.json", asdict(adapted.head.spec))
    for name, data in files.items():
        fsio.write_bytes(folder / name, data)
    described = adapted.describe()
    if described is not None:
        fsio.write_json(folder / "adapter_config.json", described)
    if adapted.weights_file == "model.safetensors" and tensors:
        with guard(folder):
            adapted.family.module.config.save_pretrained(folder)
            if adapted.family.kind == "encoder_decoder":  # says what every answer begins with
                said = adapted.family.module.generation_config
                assert said is not None
                fsio.write_text(folder / "generation_config.json", said.to_json_string())
            tokenizer.save_pretrained(folder)
    return sum(len(data) for data in files.values())


def write_template(folder: Path, tokenizer: Any, own_template: bool) -> dict[str, str]:
    """Write a decoder's chat template; gives what `run.json` says of it."""
    # The library would keep a model's own template alone; one of ours has to go with the weights as well.
    fsio.write_text(folder / TEMPLATE, template_of(tokenizer, own_template))
    return template_source(tokenizer, own_template)


def write_control(folder: Path, fitted: FittedControl) -> int:
    """Write a control's arrays and settings; gives their bytes."""
    tensors = {name: torch.from_numpy(value).contiguous() for name, value in fitted.arrays().items()}
    data = save(tensors, {"format": "pt"})
    fsio.write_bytes(folder / "model.safetensors", data)
    fsio.write_json(folder / "control.json", dict(fitted.settings()))
    return len(data) + (folder / "control.json").stat().st_size


def write_prompt(folder: Path, prompt: Prompt) -> int:
    """Write `prompt.json`, and the embeddings of its pool if it has one; gives their bytes."""
    if prompt.pool is not None:
        data = save({"embeddings": torch.from_numpy(prompt.pool.embeddings).contiguous()}, {"format": "pt"})
        fsio.write_bytes(folder / POOL_FILE, data)
    fsio.write_json(folder / "prompt.json", prompt_body(prompt))
    pooled = 0 if prompt.pool is None else (folder / POOL_FILE).stat().st_size
    return (folder / "prompt.json").stat().st_size + pooled


def read_prompt(path: Path) -> Prompt:
    """Read `prompt.json`, and the embeddings of its pool if it has one.

    Raises:
        ArtifactError: The embeddings are missing or don't fit.
    """
    body = json.loads(path.read_text(encoding="utf-8"))
    if "pool" not in body:
        return prompt_from(body)
    file = path.with_name(POOL_FILE)
    try:
        embeddings = load_file(file)["embeddings"].numpy()
    except (OSError, SafetensorError, KeyError) as error:
        raise ArtifactError(f"{file} can't be read: {error}", "Run again with --fresh.") from error
    if embeddings.shape[0] != len(body["pool"]["shots"]):
        raise ArtifactError(f"{file} does not fit {path.name}: their numbers of examples differ", "Run again.")
    return prompt_from(body, embeddings)


def write_findings(folder: Path, found: Findings) -> None:
    """Write metrics, predictions, golden rows and cost."""
    fsio.write_json(folder / "metrics.json", found.metrics)
    fsio.write_text(folder / "predictions.jsonl", found.predictions)
    fsio.write_text(
        folder / "golden.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found.golden)
    )
    fsio.write_json(folder / "cost.json", asdict(found.cost))


def seal(folder: Path, config: RunConfig, given: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write the model card, then `run.json`: from here on the artifact is whole. Checkpoints are then removed."""
    body = {
        "format": FORMAT,
        "name": config.title,
        "config": dict(given),
        "resolved": config.model_dump(mode="json"),
        "config_hash": config.hash(),
        "seed": config.training.seed,
        "versions": versions(),
        "hardware": hardware(),
        **facts,
        "files": {name: fsio.sha256_file(folder / name) for name in _answering(folder)},
        "status": "finished",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    fsio.write_text(folder / "README.md", _card(config, facts, folder))
    fsio.sweep(folder)
    # Libraries wrote some of the files: `run.json` must not outlive them in a power cut.
    fsio.sync_tree(folder)
    fsio.write_json(folder / "run.json", body)
    drop_checkpoints(folder)


def drop_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a finished run, which nothing needs any more; what can't be removed may stay."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _answering(folder: Path) -> list[str]:
    """The files that decide the run's answers: weights, prompt, configs, tokenizer, golden rows."""
    kinds = {".safetensors", ".json", ".txt", ".jinja", ".model"}
    names = {path.name for path in folder.iterdir() if path.suffix in kinds}
    return sorted(names - _NOT_ANSWERING | {"golden.jsonl"})


def _card(config: RunConfig, facts: Mapping[str, Any], folder: Path) -> str:
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["test"]
    main = config.task.main
    score = metrics[main.name]
    labels = facts["data"]["labels"]
    base = facts["base"]
    return "\n".join(
        [
            f"# {config.title}",
            "",
            f"- method: `{config.method.name}`" + ("" if base is None else f" on `{base['reference']}`"),
            f"- task: `{config.task.name}`" + (f", labels: {', '.join(labels)}" if labels else ""),
            f"- {main.title} on {facts['data']['rows']['test']} test rows: {score['value']:.4f} "
            f"(95 % interval {score['low']:.4f} to {score['high']:.4f})",
            f"- seed {config.training.seed}, config `{config.hash()[:12]}`",
            "",
            "```",
            f"rung predict {folder.name} input.csv -o output.csv",
            "```",
            "",
        ]
    )
