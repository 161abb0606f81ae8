"""A run may start from an earlier one: its adapter stays below, frozen, and the chain is one identity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForMaskedLM

from rung.artifact import load
from rung.errors import IncompatibleError, ModelError
from rung.run import RunConfig, execute
from rung.run.start import facts_of, open_model
from rung.types import Tokens

CHOICES = {"device": "cpu", "dtype": "float32", "threads": 2, "max_length": 64}
WORDS = {"good": "up", "bad": "down"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    lines = [
        {"text": f"the {word} thing number {number} went {way}", "label": word}
        for number in range(60)
        for word, way in WORDS.items()
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def run(rows: Path, folder: Path, model: str, method: dict[str, object]) -> Path:
    given = {
        "data": {"train": str(rows), "test_size": 0.2, "near_duplicates": False},
        "model": model,
        "method": method,
        "precision": "float32",
        "training": {"num_train_epochs": 1, "per_device_train_batch_size": 8},
        "output_dir": str(folder),
    }
    return execute(RunConfig.model_validate(given), given)


@pytest.mark.models
def test_a_run_on_an_earlier_runs_adapter(rows: Path, tmp_path: Path, bert_tiny_path: Path) -> None:
    first = run(rows, tmp_path / "first", "bert-tiny", {"type": "lora", "r": 2})
    kept = (first / "adapter_model.safetensors").read_bytes()
    second = run(rows, tmp_path / "second", str(first), {"type": "lora", "r": 3})
    assert (first / "adapter_model.safetensors").read_bytes() == kept
    opened = open_model(str(second), CHOICES)
    assert opened.below is not None and opened.below.below is not None
    assert facts_of(str(first)).base_hash != facts_of("bert-tiny").base_hash
    tokens = [Tokens((101, 2204, 2518, 102))]
    with torch.no_grad():
        top = opened.below.features(tokens, "mean")
        with opened.below.disabled():
            start = opened.below.features(tokens, "mean")
        with opened.below.root():
            root = opened.below.features(tokens, "mean")
        below = open_model(str(first), CHOICES).below
        assert below is not None
        assert torch.equal(start, below.features(tokens, "mean"))
        with below.root():
            assert torch.equal(root, below.features(tokens, "mean"))
    assert not torch.equal(top, start) and not torch.equal(start, root)
    artifact = load(second)
    assert artifact.verify(all=True) == []


@pytest.mark.models
def test_a_run_on_an_adapter_that_peft_made(rows: Path, tmp_path: Path, bert_tiny_path: Path) -> None:
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["query", "value"], init_lora_weights=False)
    theirs = get_peft_model(AutoModelForMaskedLM.from_pretrained(bert_tiny_path), config).eval()
    theirs.save_pretrained(tmp_path / "peft")
    opened = open_model(str(tmp_path / "peft"), CHOICES)
    assert opened.below is not None
    ids = (101, 2204, 2518, 102)
    with torch.no_grad():
        mine = opened.below.states([Tokens(ids)], [range(4)])
        want = theirs(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
    assert torch.allclose(mine, want, atol=1e-5)
    folder = run(rows, tmp_path / "out", str(tmp_path / "peft"), {"type": "head_only"})
    assert load(folder).verify(all=True) == []


@pytest.mark.models
def test_what_can_not_be_chained(rows: Path, tmp_path: Path, bert_tiny_path: Path) -> None:
    first = run(rows, tmp_path / "head", "bert-tiny", {"type": "head_only"})
    with pytest.raises(ModelError, match="left its model's weights alone"):
        run(rows, tmp_path / "a", str(first), {"type": "lora"})
    second = run(rows, tmp_path / "lora", "bert-tiny", {"type": "lora"})
    with pytest.raises(IncompatibleError, match="never merged into the weights below"):
        run(rows, tmp_path / "b", str(second), {"type": "full"})
