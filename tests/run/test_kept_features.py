"""Runs of a frozen body whose features are on the disk: the same run, and nothing goes through the body twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from rung.artifact import load
from rung.compute.features import features_root
from rung.methods.adapted import Adapted
from rung.methods.head_only import REQUEST, HeadOnlyAdapted
from rung.run import RunConfig, execute
from rung.types import Tokens

Configure = Callable[..., RunConfig]

SAME = ("head.safetensors", "predictions.jsonl", "golden.jsonl", "metrics.json")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder without any features."""
    monkeypatch.setenv("RUNG_CACHE", str(tmp_path / "cache"))


@contextmanager
def batches_computed() -> Iterator[list[int]]:
    """Sizes of the batches that go through a body."""
    sizes: list[int] = []
    plain = Adapted.features

    def features(self: Adapted, sequences: Sequence[Tokens], pooling: str) -> torch.Tensor:
        sizes.append(len(sequences))
        return plain(self, sequences, pooling)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Adapted, "features", features)
        yield sizes


def curve(folder: Path) -> list[dict[str, Any]]:
    """The history without what was timed."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if "second" not in name} for line in lines]


@pytest.mark.parametrize("model", ["bert", "llama"])
def test_a_second_run_computes_no_batch_and_is_the_same(model: str, configure: Configure) -> None:
    method = {"type": "head_only"}
    with batches_computed() as cold:
        first = execute(configure(model, method, "first"), {})
    kept = {path: path.read_bytes() for path in features_root().iterdir()}
    with batches_computed() as warm:
        second = execute(configure(model, method, "second"), {})
    assert max(cold) >= REQUEST
    assert max(warm) < REQUEST  # golden rows and timed requests, which are computed whenever they are asked
    assert kept == {path: path.read_bytes() for path in features_root().iterdir()}
    for name in SAME:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert curve(first) == curve(second)
    assert len(curve(first)) > 10


def test_the_curve_is_that_of_a_run_that_keeps_nothing(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = execute(configure("bert", {"type": "head_only"}, "kept"), {})
    monkeypatch.setattr(HeadOnlyAdapted, "prepare", Adapted.prepare)
    plain = execute(configure("bert", {"type": "head_only"}, "plain"), {})
    losses = [[line["loss"] for line in curve(folder) if "loss" in line] for folder in (kept, plain)]
    assert len(losses[0]) > 10
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_predicting_keeps_nothing(configure: Configure) -> None:
    folder = execute(configure("bert", {"type": "head_only"}), {})
    before = set(features_root().iterdir())
    found = load(str(folder)).predict([{"text": f"a warm film {number}"} for number in range(40)])
    assert len(found) == 40
    assert set(features_root().iterdir()) == before


def test_on_top_of_an_earlier_run_the_root_is_not_taken_for_it(configure: Configure, tmp_path: Path) -> None:
    execute(configure("bert", {"type": "lora", "r": 4}, "below", learning_rate=0.05), {})
    config = configure("bert", {"type": "head_only"}, "above").model_dump(mode="json") | {
        "model": str(tmp_path / "below")
    }
    above = execute(RunConfig.model_validate(config), {})
    forgetting = json.loads((above / "metrics.json").read_text())["forgetting"]
    assert forgetting["before"] != forgetting["after"]
