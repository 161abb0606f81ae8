"""Runs on an endpoint: every way of asking, and what becomes of the run afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rung import climb
from rung.artifact import load
from rung.cli.app import main
from rung.errors import ConfigError
from rung.run import RunConfig, execute

Configure = Callable[..., RunConfig]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def way(folder: Path) -> dict[str, Any]:
    return read(folder / "run.json")["base"]["way"]


def texts(table: Path) -> dict[str, str]:
    from rung.data.readers import read as read_table

    return {record.id: record.fields["text"] for record in read_table(str(table)).records}


def test_the_likeliest_tokens_are_the_models_own(server: Any, configure: Configure, table: Path) -> None:
    said: list[str] = []
    folder = execute(configure(method={"type": "zero_shot", "calibration": False}), {}, say=said.append)
    assert way(folder) == {"api": "chat", "reads": "top", "top": 20, "limit": "max_tokens", "temperature": True}
    sentence = "labels are scored from the 20 likeliest tokens of an answer (chat/completions)"
    assert f"{server.reference}: {sentence}." in said
    prompt = read(folder / "prompt.json")
    shown = texts(table)
    for row in rows(folder):
        turn = f"{prompt['instruction']}\n\n{shown[row['id']]}"
        logs = server.model.logs(server.model.chat_ids([{"role": "user", "content": turn}]))[-1]
        first = [server.model.text_ids(word)[0] for word in ("bad", "good")]
        wanted = [float(logs[one]) for one in first]
        assert row["scores"][1] - row["scores"][0] == pytest.approx(wanted[1] - wanted[0], abs=1e-6)
        assert row["prediction"] == ("bad", "good")[wanted[1] > wanted[0]]


def test_whole_answers_are_scored_where_the_prompt_is_echoed(server: Any, configure: Configure, table: Path) -> None:
    task = {"type": "classification", "verbalizer": {"good": "a warm joy", "bad": "a warm"}}
    folder = execute(configure(api="completions", task=task, method={"type": "few_shot", "num_shots": 2}), {})
    assert way(folder)["reads"] == "echo"
    prompt = read(folder / "prompt.json")
    assert len(prompt["calibration"]) == 2
    shown = texts(table)
    one, two = (f"{shot['fields']['text']}\nAnswer: {shot['answer']}\n" for shot in prompt["shots"])
    head = f"Input: {prompt['instruction']}\n\n{one}Input: {two}"
    for row in rows(folder)[:5]:
        for label, score in zip(("bad", "good"), row["scores"], strict=True):
            before = f"{head}Input: {shown[row['id']]}\nAnswer:"
            ids = server.model.text_ids(before + f" {prompt['verbalizer'][label]}\n")
            logs = server.model.logs(ids)
            start = len(server.model.text_ids(before))
            wanted = sum(float(logs[at - 1][ids[at]]) for at in range(start, len(ids)))
            assert score == pytest.approx(wanted, abs=1e-6)
    assert read(folder / "cost.json")["endpoint"]["requests_per_row"] == 2


@pytest.mark.parametrize("behaviour", [{"logprobs": "ignored"}, {"logprobs": "refused"}])
@pytest.mark.parametrize("method", ["zero_shot", "few_shot"])
def test_labels_are_written_and_read_where_there_are_no_log_probabilities(
    behaviour: dict[str, str], method: str, server: Any, configure: Configure
) -> None:
    server.behave(**behaviour)
    said: list[str] = []
    folder = execute(configure(method=method), {}, say=said.append)
    assert way(folder)["reads"] == "written"
    assert any("no log-probabilities that can be used, so labels are read from answers written" in one for one in said)
    found = rows(folder)
    assert {row["prediction"] for row in found} <= {"good", "bad"}
    assert {row["probabilities"] for row in found} == {None}
    assert read(folder / "prompt.json")["calibration"] is None
    metrics = read(folder / "metrics.json")
    assert (metrics["test"]["unanswered"], metrics["test"]["expected_calibration_error"]) == (0, None)
    assert load(folder).predict([{"text": "word1"}])[0].label in {"good", "bad"}


def test_an_answer_that_names_no_label_is_wrong_and_not_lost(server: Any, configure: Configure) -> None:
    for at, logprobs in enumerate(("yes", "ignored")):
        server.behave(favours=("film", "plot"), logprobs=logprobs)
        task = {"type": "classification", "text": "text", "label": "label", "instruction": f"Now {logprobs}?"}
        folder = execute(configure(f"out-{at}", task=task, method={"type": "zero_shot", "calibration": False}), {})
        found = rows(folder)
        nameless = sum(row["prediction"] is None for row in found)
        assert read(folder / "metrics.json")["test"]["unanswered"] == nameless > 0
        load(folder)


def test_a_server_without_chat(server: Any, configure: Configure) -> None:
    server.behave(chat=False)
    folder = execute(configure(), {})
    assert (way(folder)["api"], way(folder)["reads"]) == ("completions", "echo")
    folder = execute(configure("top", logprobs="top"), {})
    assert (way(folder)["api"], way(folder)["reads"]) == ("completions", "top")


def test_a_server_with_other_names_and_limits(server: Any, configure: Configure) -> None:
    server.behave(refuses=("max_tokens", "temperature"))
    folder = execute(configure(), {})
    assert way(folder) == {
        "api": "chat", "reads": "top", "top": 20, "limit": "max_completion_tokens", "temperature": False,
    }  # fmt: skip


def test_the_log_of_nothing(server: Any, configure: Configure) -> None:
    server.behave(fault=lambda before, number: "nothing")
    folder = execute(configure(), {})
    assert server.counts.seen.total() == len(server.counts.seen)
    assert {row["prediction"] for row in rows(folder)} <= {"good", "bad"}


def test_cost_and_money(server: Any, configure: Configure) -> None:
    said: list[str] = []
    folder = execute(configure(prices={"input": 3.0, "output": 12.0}), {}, say=said.append)
    cost = read(folder / "cost.json")
    found = cost["endpoint"]
    assert found["money"] == pytest.approx((3 * found["input_tokens"] + 12 * found["output_tokens"]) / 1e6)
    assert found["output_tokens"] == found["answered"] == len(server.counts.seen), "one token each"
    assert cost["tokens_per_request"] == found["input_tokens_per_row"] > 20
    assert cost["seconds_per_request"] > 0
    row = (3 * found["input_tokens_per_row"] + 12 * found["output_tokens_per_row"]) / 1e6
    assert found["money_per_row"] == pytest.approx(row)
    assert any(f"{found['answered']} requests were answered" in one and "by endpoint.prices" in one for one in said)


def test_a_server_that_does_not_count_tokens(server: Any, configure: Configure) -> None:
    server.behave(usage=False)
    folder = execute(configure(prices={"input": 3.0, "output": 12.0}), {})
    cost = read(folder / "cost.json")
    found = cost["endpoint"]
    assert found["without_usage"] == found["answered"] > 0
    assert (found["money_per_row"], cost["tokens_per_request"]) == (None, None)


def test_a_finished_run_loads_answers_and_is_looked_over(
    server: Any, configure: Configure, tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = execute(configure(), {})
    server.behave()
    artifact = load(folder)
    assert server.counts.seen.total() == 0, "loading sends nothing"
    known = [{"text": text} for text in list(texts(table).values())]
    assert len(artifact.predict(known)) == 60
    assert server.counts.seen.total() < 60, "validation and test rows come from the cache"
    assert main(["predict", str(folder), str(table), "-o", str(tmp_path / "answers.csv")]) == 0
    assert "0 requests were answered (0 tokens read, 0 written), 60 came from the cache." in capsys.readouterr().err
    assert main(["eval", str(folder), str(table)]) == 0
    server.behave()
    assert main(["doctor", str(folder)]) == 0
    assert server.counts.seen.total() == len(rows(folder)), "each golden row is asked anew"
    assert "every golden row is answered as it was" in capsys.readouterr().out
    server.behave(favours=("dull", "warm"))
    assert main(["doctor", str(folder)]) == 1
    assert "golden row" in capsys.readouterr().out


def test_a_finished_run_is_reused_and_speed_is_no_part_of_it(server: Any, configure: Configure) -> None:
    folder = execute(configure(), {})
    said: list[str] = []
    execute(configure(concurrency=1, timeout=3, prices={"input": 1, "output": 1}), {}, say=said.append)
    assert said == [f"{folder} holds this very run, finished: reused. --fresh runs it anew."]
    assert configure().hash() != configure(logprobs="never").hash()
    assert configure().hash() != configure(model=f"openai:other@{server.url}").hash()


def test_texts_are_written(server: Any, configure: Configure, tmp_path: Path) -> None:
    server.behave(favours=())
    path = tmp_path / "pairs.jsonl"
    lines = [{"prompt": f"say word{number}", "completion": f"word{number}"} for number in range(40)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    task = {"type": "generation", "max_new_tokens": 5}
    folder = execute(configure(task=task, data={"train": str(path), "near_duplicates": False}), {})
    metrics = read(folder / "metrics.json")["test"]
    assert {"exact_match", "token_f1", "share_stopped"} <= set(metrics)
    assert "loss" not in metrics
    first = rows(folder)[0]
    record = next(line for line in lines if line["completion"] == first["label"])
    ids = server.model.chat_ids([{"role": "user", "content": record["prompt"]}])
    written = [one for one, _ in server.model.write(ids, 5, ())]
    assert first["prediction"] == server.model.tokenizer.decode(written).strip()
    assert first["finished"] == (len(written) < 5)
    assert load(folder).predict([record])[0].label == first["prediction"]


def test_a_ladder_with_an_endpoint(server: Any, table: Path, tmp_path: Path) -> None:
    settings = {
        "data": {"train": str(table), "near_duplicates": False},
        "models": [{"name": server.reference, "methods": ["zero_shot", "lora"]}],
        "controls": ["majority"],
        "endpoint": {"timeout": 20, "prices": {"input": 1, "output": 1}},
        "learning_curve": False,
        "num_threads": 1,
        "output_dir": str(tmp_path / "ladder"),
    }
    report = climb(settings)
    rungs = {rung["name"]: rung for rung in report["rungs"]}
    assert {name: rung["status"] for name, rung in rungs.items()} == {
        "majority": "finished", "zero_shot-tiny": "finished", "lora-tiny": "refused",
    }  # fmt: skip
    assert rungs["zero_shot-tiny"]["cost"]["seconds_per_request"] > 0
    assert read(tmp_path / "ladder" / "runs" / "zero_shot-tiny" / "cost.json")["endpoint"]["money"] > 0


def test_a_plan_sends_nothing(
    server: Any, configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(method={"type": "few_shot", "num_shots": 2}, prices={"input": 10, "output": 1})
    given = config.model_dump(mode="json", exclude={"objective"}, exclude_none=True)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    assert main(["plan", str(tmp_path / "run.yaml"), "--json"]) == 0
    assert server.counts.seen.total() == 0
    planned = json.loads(capsys.readouterr().out)
    asked = planned["rows"]["validation"] + planned["rows"]["test"] + 3
    assert f"about {asked} requests with" in planned["notes"][0], "validation, test, and three that say nothing"
    assert "by endpoint.prices" in planned["notes"][0]
    execute(config, {})
    assert server.counts.seen.total() == asked


def test_a_prompt_is_searched_for_with_the_endpoint_as_its_own_writer(server: Any, configure: Configure) -> None:
    search = {
        "type": "prompt_search",
        "proposers": [{"type": "rewrite"}],
        "budget": {"evaluations": 120},
        "first_rows": 8,
        "max_validation_rows": 8,
        "max_shots": 0,
        "width": 2,
    }
    folder = execute(configure(method=search), {})
    found = read(folder / "search.json")
    assert found["spent"]["evaluations"] <= 120
    assert {"plain", "chance"} <= set(found["test"]["differences"])
    ledger = read(folder / "cost.json")["endpoint"]
    assert ledger["answered"] == ledger["sent"] > found["spent"]["evaluations"]
    asked = server.counts.seen.total()
    execute(configure(method=search), {}, fresh=True)
    assert server.counts.seen.total() == asked, "a search that is repeated asks the cache alone"


def test_an_endpoint_rewrites_prompts_for_a_model_on_this_machine(
    server: Any, configure: Configure, tiny_models: dict[str, Path]
) -> None:
    said: list[str] = []
    search = {
        "type": "prompt_search",
        "proposers": [{"type": "rewrite", "model": server.reference}],
        "budget": {"evaluations": 60},
        "first_rows": 8,
        "max_validation_rows": 8,
        "max_shots": 0,
        "width": 2,
        "baseline": False,
    }
    folder = execute(configure(method=search, model=str(tiny_models["llama"])), {}, say=said.append)
    asked = server.counts.seen.total()
    assert asked > 0
    assert len((folder / "writers.jsonl").read_text(encoding="utf-8").splitlines()) >= asked
    assert any(sentence.startswith(f"{server.reference}: ") and "were answered" in sentence for sentence in said)
    assert load(folder).verify(all=True) == []
    execute(configure(method=search, model=str(tiny_models["llama"])), {}, fresh=True)
    assert server.counts.seen.total() == asked, "what was written before comes from the cache"


def test_an_endpoint_lays_chats_out_itself(configure: Configure) -> None:
    with pytest.raises(ConfigError, match=r"chat_template=false: a server lays chats out in its own way"):
        execute(configure(method={"type": "zero_shot", "chat_template": False}), {})
