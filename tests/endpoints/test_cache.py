"""The cache and the journal: shared by processes, whole after a kill, honest about what a kill may have cost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rung.endpoints.cache import request_key, responses
from rung.endpoints.client import Client
from rung.endpoints.pacing import Pace
from rung.endpoints.settings import EndpointConfig
from rung.endpoints.spending import Spending
from rung.run import RunConfig, execute

Configure = Callable[..., RunConfig]


def started(config: RunConfig, tmp_path: Path, name: str) -> subprocess.Popen[bytes]:
    path = tmp_path / f"{name}.json"
    path.write_text(config.model_dump_json(), encoding="utf-8")
    script = Path(__file__).with_name("asking.py")
    return subprocess.Popen([sys.executable, str(script), str(path)], stdout=subprocess.DEVNULL)


def ledger(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "cost.json").read_text(encoding="utf-8"))["endpoint"]


def test_two_processes_ask_each_request_once(server: Any, configure: Configure, tmp_path: Path) -> None:
    server.behave(delay=0.1)
    configs = [configure(name) for name in ("one", "two")]
    both = [started(config, tmp_path, f"config-{at}") for at, config in enumerate(configs)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert max(server.counts.seen.values()) == 1
    folders = [Path(config.output_dir) for config in configs]
    one, two = ((folder / "predictions.jsonl").read_bytes() for folder in folders)
    assert one == two
    assert sum(ledger(folder)["answered"] for folder in folders) == len(server.counts.charged)
    assert sum(ledger(folder)["possibly_charged"] for folder in folders) == 0


def test_a_run_killed_half_way_goes_on_and_its_ledger_says_what_it_cost(
    server: Any, configure: Configure, tmp_path: Path
) -> None:
    server.behave(delay=0.08)
    config, chance, killed = configure(concurrency=2), random.Random(3), 0
    for target in (4, 9, 14):
        process = started(config, tmp_path, "config")
        while process.poll() is None and server.counts.charged.total() < target:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.05))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed == 3
    assert started(config, tmp_path, "config").wait(120) == 0
    found, counts = ledger(Path(config.output_dir)), server.counts
    deadline = time.monotonic() + 10
    while server.under_way and time.monotonic() < deadline:
        time.sleep(0.01)
    assert found["answered"] == len(counts.seen), "no row is lost, none is counted twice"
    assert found["sent"] == found["answered"] + found["possibly_charged"]
    twice = counts.charged.total() - len(counts.charged)
    assert twice <= found["possibly_charged"] <= 2 * killed, "what was under way at a kill, and no more"
    entries = list((tmp_path / "cache" / "responses").glob("*/*"))
    assert len([path for path in entries if path.suffix == ".json"]) == len(counts.seen)
    undisturbed = execute(configure("undisturbed"), {})
    assert (undisturbed / "predictions.jsonl").read_bytes() == (
        Path(config.output_dir) / "predictions.jsonl"
    ).read_bytes()


def test_a_damaged_answer_is_asked_for_again(server: Any, configure: Configure, own_cache: Path) -> None:
    first = execute(configure("first"), {})
    paths = sorted((own_cache / "responses").glob("*/*.json"))
    for path, damage in zip(paths, (b"", b"{", b'{"choice": {}}', paths[3].read_bytes()[:-9]), strict=False):
        path.write_bytes(damage)
    flipped = bytearray(paths[4].read_bytes())
    flipped[len(flipped) // 2] ^= 1
    paths[4].write_bytes(flipped)
    server.behave()
    second = execute(configure("second"), {})
    assert server.counts.seen.total() == 5
    assert (first / "predictions.jsonl").read_bytes() == (second / "predictions.jsonl").read_bytes()


def test_the_cache_is_for_its_owner_alone(server: Any, configure: Configure, own_cache: Path) -> None:
    execute(configure(), {})
    assert (own_cache / "responses").stat().st_mode & 0o077 == 0


def test_the_key_is_of_address_route_and_whole_body() -> None:
    body = {"model": "m", "temperature": 0.0, "messages": [{"role": "user", "content": "\ud800 é"}]}
    key = request_key("http://a/v1", "completions", body)
    assert key == request_key("http://a/v1", "completions", dict(reversed(body.items())))
    others = [
        request_key("http://b/v1", "completions", body),
        request_key("http://a/v1", "chat/completions", body),
        request_key("http://a/v1", "completions", {**body, "temperature": 0.1}),
        request_key("http://a/v1", "completions", {**body, "model": "n"}),
        request_key("http://a/v1", "completions", body, 3),
    ]
    assert len({key, *others}) == 6


def test_one_thread_at_a_time_holds_a_key(own_cache: Path) -> None:
    cache, stop = responses(own_cache / "responses"), threading.Event()
    key, inside, most = "ab" * 32, 0, 0

    def hold() -> None:
        nonlocal inside, most
        with cache.claim(key, stop):
            inside += 1
            most = max(most, inside)
            time.sleep(0.01)
            inside -= 1

    threads = [threading.Thread(target=hold) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, inside, cache._claims) == (1, 0, {})


def test_a_journal_settles_what_a_kill_left_open(tmp_path: Path) -> None:
    journal = tmp_path / "requests.jsonl"
    before = Spending(journal, "run")
    before.note("kept", 0, "sent")
    before.note("lost", 0, "sent")
    before.note("done", 0, "sent")
    before.note("done", 0, "refused")
    before.note("done", 1, "sent")
    before.note("done", 1, "answered", input=5, output=1)
    Spending(journal, "another run").note("other", 0, "sent")
    with journal.open("a", encoding="utf-8") as file:
        file.write('{"run": "run", "key": "ha')  # a power cut
    kept = {"kept": {"input": 7, "output": 2}}
    found = Spending(journal, "run", kept.get).totals
    assert (found.sent, found.answered, found.refused, found.possibly_charged) == (4, 2, 1, 1)
    assert (found.input_tokens, found.output_tokens) == (12, 3)
    again = Spending(journal, "run", kept.get).totals
    assert again == found, "settled once"


def test_requests_are_spread_over_the_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("rung.endpoints.pacing.time.monotonic", lambda: now[0])

    class Sleeping(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            now[0] += timeout or 0
            return False

    def sent(settings: EndpointConfig, tokens: float) -> list[float]:
        now[0] = 100.0
        pace = Pace(settings, Sleeping())
        times = []
        for _ in range(4):
            pace.wait(tokens)
            times.append(round(now[0] - 100.0, 6))
        return times

    assert sent(EndpointConfig(requests_per_minute=120), 10) == [0, 0.5, 1.0, 1.5]
    assert sent(EndpointConfig(tokens_per_minute=600), 20) == [0, 2.0, 4.0, 6.0]
    assert sent(EndpointConfig(tokens_per_minute=600, requests_per_minute=20), 20) == [0, 3.0, 6.0, 9.0]
    assert sent(EndpointConfig(), 20) == [0, 0, 0, 0]


def test_every_try_waits_for_its_turn(server: Any, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    wait = Pace.wait
    monkeypatch.setattr(Pace, "wait", lambda pace, tokens: (waited.append(tokens), wait(pace, tokens))[1])
    server.behave(fault=lambda before, number: "500" if before == 0 else None)
    execute(configure(requests_per_minute=100_000, tokens_per_minute=10_000_000), {})
    assert len(waited) == server.counts.seen.total()
    assert min(waited) > 10, "about as many tokens as the request has"


def test_a_client_that_failed_can_be_asked_again(server: Any, own_cache: Path) -> None:
    from rung.endpoints.ways import Way, ask_for
    from rung.errors import EndpointError
    from rung.models.references import EndpointReference
    from rung.types import Message

    client = Client(EndpointReference("tiny", server.url), EndpointConfig(max_retries=0))
    request = ask_for(Way("chat", "written"), "tiny", [Message("user", "joy")], 3, "row 1")
    server.behave(fault=lambda before, number: "500")
    with pytest.raises(EndpointError, match="no answer for row 1 after 1 tries"):
        client.ask_all([request])
    server.behave()
    assert client.ask_all([request, request])[1].choice["finish_reason"] == "stop"
    assert server.counts.seen.total() == 1
    client.close()
