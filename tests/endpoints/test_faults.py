"""Under every fault each row is answered, and each answer is charged once, as often as the server counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rung.errors import EndpointError
from rung.run import RunConfig, execute

Configure = Callable[..., RunConfig]


def ledger(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "cost.json").read_text(encoding="utf-8"))["endpoint"]


def answers(folder: Path) -> list[str]:
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["prediction"] for line in lines]


def always_once(fault: str) -> Callable[[int, int], str | None]:
    """The fault the first time that a request comes."""
    return lambda before, number: fault if before == 0 else None


def run(config: RunConfig) -> Path:
    return execute(config, {})


@pytest.fixture
def undisturbed(server: Any, configure: Configure) -> Path:
    folder = run(configure("undisturbed"))
    assert None not in answers(folder)
    return folder


def forget(own_cache: Path) -> None:
    """Empty the cache, so that everything is asked again."""
    for path in (own_cache / "responses").glob("*/*.json"):
        path.unlink()


@pytest.mark.parametrize(
    ("fault", "more"),
    [
        ("429", {}),
        ("500", {}),
        ("slow", {"timeout": 0.4}),
        ("cut", {}),
        ("garbled", {}),
        ("bare", {}),
    ],
)
def test_a_fault_at_every_row_loses_no_row_and_charges_none_twice(
    fault: str, more: dict[str, Any], server: Any, configure: Configure, undisturbed: Path, own_cache: Path
) -> None:
    forget(own_cache)
    server.behave(fault=always_once(fault), slow=1.2)
    folder = run(configure("disturbed", **more))
    assert (folder / "predictions.jsonl").read_bytes() == (undisturbed / "predictions.jsonl").read_bytes()
    found, counts = ledger(folder), server.counts
    rows = len(counts.seen)
    assert found["answered"] == rows == ledger(undisturbed)["answered"]
    assert found["sent"] == counts.seen.total() >= 2 * rows
    assert found["sent"] == found["answered"] + found["refused"] + found["unreached"] + found["possibly_charged"]
    if fault in ("429", "500"):
        assert counts.charged.total() == rows, "a refusal is not charged"
        assert (found["refused"], found["possibly_charged"]) == (rows, 0)
    else:
        assert counts.charged.total() == found["answered"] + found["possibly_charged"], "lost answers are named"
        assert found["refused"] == 0
    tokens = [found[name] for name in ("input_tokens", "output_tokens")]
    assert tokens == [ledger(undisturbed)[name] for name in ("input_tokens", "output_tokens")]


def test_faults_of_all_kinds_in_turn(server: Any, configure: Configure, undisturbed: Path, own_cache: Path) -> None:
    forget(own_cache)
    kinds = ("429", "500", "cut", "garbled", "bare")
    server.behave(fault=lambda before, number: kinds[(number + before) % len(kinds)] if before < 3 else None)
    folder = run(configure("disturbed"))
    assert (folder / "predictions.jsonl").read_bytes() == (undisturbed / "predictions.jsonl").read_bytes()
    found = ledger(folder)
    assert found["answered"] == len(server.counts.seen)
    assert server.counts.charged.total() == found["answered"] + found["possibly_charged"]
    assert all(times == 4 for times in server.counts.seen.values())


def test_a_repeated_run_sends_nothing_and_costs_nothing(server: Any, configure: Configure, undisturbed: Path) -> None:
    server.behave()
    folder = run(configure("again", prices={"input": 1, "output": 2}))
    assert server.counts.seen.total() == 0
    assert (folder / "predictions.jsonl").read_bytes() == (undisturbed / "predictions.jsonl").read_bytes()
    found = ledger(folder)
    assert (found["sent"], found["answered"], found["money"]) == (0, 0, 0.0)
    assert found["cached"] > 0
    assert found["money_per_row"] > 0, "what a request costs where it is not known yet"


def test_a_fault_that_does_not_end_stops_the_run_in_words_and_the_same_command_goes_on(
    server: Any, configure: Configure
) -> None:
    server.behave(fault=lambda before, number: "500" if number > 12 else None)
    config = configure(max_retries=2)
    with pytest.raises(EndpointError, match=r"no answer for .*:\d+ after 3 tries; the last: status 500: injected 500"):
        run(config)
    done = server.counts.charged.total()
    assert done > 5
    earlier = server.counts
    server.behave()
    folder = run(config)
    assert ledger(folder)["answered"] == done + server.counts.charged.total()
    assert not set(earlier.charged) & set(server.counts.charged), "what was answered is not asked again"
    assert max(server.counts.charged.values()) == 1


def test_retry_after_is_waited_for_by_all(server: Any, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    from rung.endpoints.pacing import Pace

    held: list[float] = []
    hold = Pace.hold
    monkeypatch.setattr(Pace, "hold", lambda pace, seconds: (held.append(seconds), hold(pace, seconds))[0])
    server.behave(fault=lambda before, number: "429" if number == 3 else None, retry_after="0.2")
    run(configure())
    assert held == [0.2]
    server.behave(fault=lambda before, number: "429", retry_after="86400")
    with pytest.raises(EndpointError, match="wants no request for 86,400 s"):
        run(configure("out-2", task={"type": "classification", "instruction": "Now?"}))


def test_as_many_requests_at_once_as_are_allowed_and_no_more(server: Any, configure: Configure) -> None:
    server.behave(delay=0.05)
    run(configure(concurrency=3))
    assert server.counts.most_at_once == 3


def test_equal_rows_are_asked_once(server: Any, configure: Configure, tmp_path: Path, table: Path) -> None:
    path = tmp_path / "test.jsonl"
    lines = [{"text": f"new{number % 4}", "label": ("bad", "good")[number % 2]} for number in range(40)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    folder = run(configure(data={"train": str(table), "test": str(path), "near_duplicates": False}))
    assert len(answers(folder)) == 40
    assert set(server.counts.seen.values()) == {1}
    validation = json.loads((folder / "run.json").read_text(encoding="utf-8"))["data"]["rows"]["validation"]
    assert ledger(folder)["answered"] == len(server.counts.seen) == validation + 4 + 3, "three that say nothing"
