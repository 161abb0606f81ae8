"""A judge behind an API: asked once, then answered from what was kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rung.cli.app import main
from rung.run import RunConfig, execute

Configure = Callable[..., RunConfig]


def test_an_endpoint_judges_in_both_orders_and_is_asked_once(
    server: Any, configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"question": f"say word{at}", "answer": f"word{at % 5}"} for at in range(30)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = {"train": str(path), "test_size": 0.3, "near_duplicates": False}
    task = {"type": "generation", "max_new_tokens": 4}
    one = execute(configure("one", data=data, task=task), {})
    other = execute(configure("other", method={"type": "few_shot", "num_shots": 1}, data=data, task=task), {})
    server.behave()
    words = ["judge", str(one), str(other), "--by", server.reference, "endpoint.backoff=0.01", "--json"]
    capsys.readouterr()
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    asked = sum(server.counts.charged.values())
    assert told["rows"] > 5 and asked >= 2 * (told["rows"] - told["alike"]) > 0
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert sum(server.counts.charged.values()) == asked, "the same judgements were paid for twice"
