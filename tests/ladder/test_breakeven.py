"""From how many requests on training pays, and what the page says of prompts that were tried."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rung.errors import ArtifactError
from rung.ladder.breakeven import break_even, requests_between
from rung.ladder.prompts import curves, searches

F1 = {"name": "macro_f1", "lower_is_better": False}


def rung(name: str, method: str, score: float, seconds: tuple[float, float], tokens: float = 50) -> dict[str, Any]:
    cost = {"train_seconds": seconds[0], "search_seconds": 0.0, "seconds_per_request": seconds[1]}
    return {
        "name": name,
        "method": method,
        "metrics": {"macro_f1": {"value": score}},
        "cost": cost | {"tokens_per_request": tokens},
    }


@pytest.mark.parametrize(
    ("fixed", "each", "meet"),
    [
        ((0, 70), (0.3, 0.1), 350),
        ((100, 0), (0.1, 0.3), 500),
        ((0, 70), (0.1, 0.3), None),
        ((70, 0), (0.3, 0.1), None),
        ((5, 5), (0.3, 0.1), None),
    ],
)
def test_two_ways_cost_the_same_where_their_lines_meet(fixed: Any, each: Any, meet: float | None) -> None:
    found = requests_between(fixed, each)
    assert found == (None if meet is None else pytest.approx(meet))
    if meet is not None:
        assert fixed[0] + meet * each[0] == pytest.approx(fixed[1] + meet * each[1])


def test_the_sentence_is_about_the_best_of_each_kind() -> None:
    rungs = [
        rung("tfidf", "tfidf", 0.99, (1, 0.001)),
        rung("zero_shot", "zero_shot", 0.4, (0, 0.05)),
        rung("few_shot", "few_shot", 0.7, (0, 0.3), 412),
        rung("lora", "lora", 0.9, (70, 0.1), 51),
    ]
    assert break_even(rungs, F1) == (
        "few_shot takes 0 s once and 300 ms and 412 tokens a request; lora takes 70 s to train and 100 ms and 51 "
        "tokens a request: from 350 requests on, lora is the cheaper."
    )
    rungs[3] = rung("lora", "lora", 0.9, (70, 0.4), 51)
    assert break_even(rungs, F1).endswith(": few_shot is the cheaper however many requests there are.")
    assert break_even(rungs[:3], F1) == ""
    assert break_even([*rungs[:3], {**rungs[3], "metrics": None}], F1) == ""


class Record:
    def __init__(self, folder: Path) -> None:
        self.folder = folder


def test_the_page_gets_what_was_tried_best_first(tmp_path: Path) -> None:
    line = {"origin": "plain", "instruction": "Ask {{ it }}", "shots": 0, "dropped": None}
    tried = [
        {**line, "rows": 16, "score": 0.2, "dropped": -0.3},
        {**line, "rows": 64, "score": 0.5},
        {**line, "origin": "edit", "rows": 64, "score": 0.75, "shots": 2},
        {**line, "rows": 0, "score": None},
    ]
    body = {
        "tried": tried,
        "prompts": [{**tried[1], "low": 0.4, "high": 0.6}],
        "spent": {"evaluations": 1234, "tokens": 56789},
        "stopped": "the budget ended",
        "prompt": {"instruction": "Best", "shots": [1, 2]},
        "sentences": ["It is better."],
    }
    (tmp_path / "search.json").write_text(json.dumps(body), encoding="utf-8")
    (found,) = searches([("search", Record(tmp_path)), ("other", Record(tmp_path / "none"))])  # pyright: ignore
    assert [(row[0], row[3], row[4]) for row in found["tried"]] == [
        ("edit", "0.750", "64"), ("plain", "0.500", "64"), ("plain", "0.200", "16, left"), ("plain", "–", "0"),
    ]  # fmt: skip
    assert (found["evaluations"], found["shots"], found["sentences"]) == ("1,234", 2, ["It is better."])
    assert "0.400" in found["own"][0][3]
    (tmp_path / "search.json").write_text(
        json.dumps({"shots": 2, "curve": [{"num_shots": 2, "score": 0.5, "low": 0.4, "high": 0.6, "tokens": 81.2}]})
    )
    assert searches([("few", Record(tmp_path))]) == []  # pyright: ignore
    (curve,) = curves([("few", Record(tmp_path))])  # pyright: ignore
    assert (curve["chosen"], curve["points"][0][0], curve["points"][0][2]) == (2, 2, "81")
    (tmp_path / "search.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"search\.json: not JSON"):
        searches([("search", Record(tmp_path))])  # pyright: ignore


def test_of_losses_the_lowest_is_the_best() -> None:
    rungs = [rung("zero_shot", "zero_shot", 3.1, (0, 0.3)), rung("few_shot", "few_shot", 2.2, (0, 0.3))]
    rungs += [rung("soft_prompt", "soft_prompt", 1.4, (70, 0.1)), rung("lora", "lora", 0.9, (70, 0.1))]
    for one in rungs:
        one["metrics"] = {"loss": one["metrics"]["macro_f1"]}
    told = break_even(rungs, {"name": "loss", "lower_is_better": True})
    assert told.startswith("few_shot takes")
    assert "; lora takes" in told
