"""What an endpoint refuses is said in words, and the key is said nowhere."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rung.cli.app import main
from rung.errors import ConfigError, EndpointError, IncompatibleError, ModelError
from rung.models.references import parse
from rung.run import RunConfig, execute

Configure = Callable[..., RunConfig]

KEY = "sk-canary-5f1e0c7a9b"
VARIABLE = "RUNG_TEST_KEY"


def refused(config: RunConfig) -> str:
    with pytest.raises(EndpointError) as caught:
        execute(config, {})
    return str(caught.value)


def test_a_key_that_is_missing(server: Any, configure: Configure) -> None:
    server.behave(key=KEY)
    said = refused(configure())
    assert f"{server.url} refuses access (status 401): the environment variable {VARIABLE} is not set" in said
    assert f"Set {VARIABLE} to a key for this server, or name another variable: endpoint.api_key_env=NAME." in said
    assert server.counts.seen.total() == 1, "a refused key is not tried again"


def test_a_wrong_key(server: Any, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "sk-wrong-1234567890")
    server.behave(key=KEY)
    said = refused(configure())
    assert f"the environment variable {VARIABLE} holds a key that is not accepted" in said
    assert "wrong" not in said, "the server's words repeat the key, and are left out"


def test_a_key_that_no_header_can_carry(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "sk-one\nsk-two")
    said = refused(configure())
    assert said.startswith(f"the environment variable {VARIABLE} holds spaces or signs that no key has")
    assert "sk-" not in said


def test_a_key_in_the_address_is_refused_and_not_repeated() -> None:
    for address in (f"http://user:{KEY}@host/v1", f"http://host/v1?api-key={KEY}"):
        with pytest.raises(ModelError, match="holds a password, a query or a fragment") as caught:
            parse(f"openai:tiny@{address}")
        assert KEY not in str(caught.value)


def test_a_key_in_the_place_of_its_variable_is_refused_and_not_repeated(
    server: Any, configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure().model_dump(mode="json")
    config["endpoint"]["api_key_env"] = KEY
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    assert main(["train", str(tmp_path / "run.yaml")]) == 2
    shown = capsys.readouterr()
    assert "endpoint.api_key_env=***" in shown.err
    assert KEY not in shown.out + shown.err


def test_the_key_is_in_no_file_and_no_word(
    server: Any,
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    caplog.set_level("DEBUG")
    server.behave(
        key=KEY, fault=lambda before, number: ("429", "500", "cut", "garbled")[number % 4] if before == 0 else None
    )
    settings = configure().model_dump(mode="json", exclude={"objective", "num_threads"}, exclude_none=True)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert main(["train", str(tmp_path / "run.yaml")]) == 0
    assert set(server.counts.keys) == {f"Bearer {KEY}"}
    server.behave(key="another")
    settings["task"]["instruction"] = "Now?"
    (tmp_path / "again.yaml").write_text(
        yaml.safe_dump({**settings, "output_dir": str(tmp_path / "o")}), encoding="utf-8"
    )
    assert main(["train", str(tmp_path / "again.yaml")]) == 6
    shown = capfd.readouterr()
    assert KEY not in shown.out + shown.err + caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 30, "the run and the cache"
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_an_unknown_model(server: Any, configure: Configure) -> None:
    said = refused(configure(model=f"openai:tinny@{server.url}"))
    assert f"endpoint {server.url} has no model 'tinny'. Did you mean 'tiny'?" in said
    assert "It offers: tiny, another." in said


def test_an_address_that_is_not_the_api(server: Any, configure: Configure) -> None:
    address = server.url.removesuffix("/v1")
    said = refused(configure(model=f"openai:none@{address}"))
    assert "this is not where its API begins" in said
    assert "most often in /v1" in said


def test_an_unreachable_address_is_an_error_at_once(configure: Configure) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = refused(configure(model=f"openai:tiny@http://127.0.0.1:{port}/v1", backoff=1000))
    assert f"endpoint http://127.0.0.1:{port}/v1: it can't be reached" in said
    assert "Check the address, and that the server runs." in said


def test_a_redirect_is_not_followed(server: Any, configure: Configure) -> None:
    server.behave(fault=lambda before, number: "302")
    assert "status 302 (it sends us elsewhere, and the key goes nowhere else" in refused(configure())
    assert server.counts.seen.total() == 1


def test_a_quota_that_is_used_up_is_not_tried_again(server: Any, configure: Configure) -> None:
    server.behave(fault=lambda before, number: "quota")
    assert "the account's quota is used up (status 429: You exceeded your quota)" in refused(configure())
    assert server.counts.seen.total() == 1


def test_a_row_that_is_too_long_is_named(server: Any, configure: Configure, tmp_path: Path, table: Path) -> None:
    server.behave(longest=250)
    rows = [{"text": "short", "label": "good"}, {"text": "long " * 200, "label": "bad"}]
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    said = refused(configure(data={"train": str(table), "test": str(path), "near_duplicates": False}))
    assert "test.jsonl:2: the prompt for this row is longer than the model of" in said
    assert "maximum context length is 250 tokens" in said


def test_answers_that_differ_in_spaces_alone(configure: Configure) -> None:
    task = {"type": "classification", "verbalizer": {"good": "yes", "bad": "yes "}}
    with pytest.raises(ConfigError, match="labels 'bad' and 'good' have answers that an endpoint can't tell apart"):
        execute(configure(task=task), {})


def test_what_trains_weights_is_refused(configure: Configure) -> None:
    with pytest.raises(IncompatibleError, match="an endpoint's weights can't be reached"):
        execute(configure(method="lora"), {})


def test_log_probabilities_that_must_be_there_and_are_not(server: Any, configure: Configure) -> None:
    server.behave(logprobs="ignored")
    said = refused(configure(logprobs="top"))
    assert "gives no log-probabilities as endpoint.logprobs=top needs them" in said
    assert "Set endpoint.logprobs=never, or auto." in said
