"""Sets grown over a real connection, and by a tiny model on this machine."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from rung.data.load import load_generation
from rung.data.settings import DataConfig
from rung.errors import ArtifactError, ConfigError
from rung.synth.grow import grow

TINY = {"max_new_tokens": 20, "filters": {"least_words": 1, "language": "any"}, "rounds": 2, "temperature": 1.0}


def lines(folder: str | Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(folder) / name).read_text(encoding="utf-8").splitlines()]


def without_times(folder: str | Path) -> dict[str, Any]:
    report = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
    return {key: value for key, value in report.items() if key not in ("seconds", "ledger", "settings")}


def test_rows_are_accepted_with_their_provenance_and_the_sums_add_up(configure, server) -> None:
    config = configure()
    report = grow(config)
    rows, rejected = lines(config.output_dir, "instructions.jsonl"), lines(config.output_dir, "rejected.jsonl")
    assert report["accepted"] == len(rows) == 12
    assert report["stopped_by"] == "wanted"
    assert sum(report["rejected"].values()) == len(rejected)
    assert report["proposed"] == len(rows) + len(rejected) + report["surplus"]
    assert report["asked"] == server.seen.total() == report["ledger"]["answered"]
    assert len({row["id"] for row in rows}) == 12
    for row in rows:
        origin = row["provenance"]
        assert origin["model"] == server.reference
        assert len(origin["seeds"]) == 8
        assert origin["instance"]["generation_seed"] >= 0
    assert not any("sorry" in row["output"] for row in rows)
    later = [row for row in rows if row["provenance"]["round"] > 1]
    own = {row["id"] for row in rows}
    assert any(own & set(row["provenance"]["seeds"]) for row in later), "accepted tasks are shown in later prompts"


def test_the_rows_are_what_a_generation_task_reads_by_itself(configure) -> None:
    config = configure()
    grow(config)
    none = {"prompt": None, "context": None, "completion": None, "messages": None}
    data = load_generation(DataConfig(train=f"{config.output_dir}/instructions.jsonl"), none)
    assert "Rows read as alpaca" in " ".join(data.columns.reasons)
    assert sum(map(len, data.splits.named().values())) == 12


def test_the_same_settings_give_the_same_bytes_and_another_seed_others(configure) -> None:
    first, again, other = configure("a"), configure("b"), configure("c", seed=1)
    for config in (first, again, other):
        grow(config)
    files = [(Path(one.output_dir) / "instructions.jsonl").read_bytes() for one in (first, again, other)]
    assert files[0] == files[1] != files[2]


def test_a_finished_set_asks_nothing_and_a_larger_one_goes_on(configure, server) -> None:
    grow(configure(wanted=6))
    asked = server.seen.total()
    grow(configure(wanted=6))
    assert server.seen.total() == asked
    grow(configure(wanted=20, rounds=20))
    whole = configure("whole", wanted=20, rounds=20)
    grow(whole)
    rows = (Path(configure().output_dir) / "instructions.jsonl").read_bytes()
    assert rows == (Path(whole.output_dir) / "instructions.jsonl").read_bytes()
    assert max(server.seen.values()) == 1


@pytest.mark.parametrize(
    ("budget", "limit"),
    [({"requests": 17}, 17), ({"tokens": 6_000}, 6_000), ({"money": 0.004}, 0.004), ({"seconds": 0}, 0)],
)
def test_a_budget_is_never_passed(budget, limit, configure, server) -> None:
    prices = {"input": 1.0, "output": 2.0}
    config = configure(wanted=500, rounds=50, max_new_tokens=64, budget=budget, endpoint={"prices": prices})
    report = grow(config)
    spent = {
        "requests": server.seen.total(),
        "tokens": report["ledger"]["input_tokens"] + report["ledger"]["output_tokens"],
        "money": report["ledger"]["money"],
        "seconds": report["seconds"],
    }
    (name,) = budget
    assert spent[name] <= limit
    assert report["stopped_by"].startswith(f"budget.{name}=")
    assert report["proposed"] == report["accepted"] + sum(report["rejected"].values()) + report["surplus"]
    if name != "seconds":
        assert spent["requests"] > 0
        grow(configure(wanted=500, rounds=3, max_new_tokens=64, endpoint={"prices": prices}))
        assert max(server.seen.values()) == 1, "a larger budget goes on, and asks nothing twice"


def test_test_rows_are_kept_out(configure, tmp_path) -> None:
    plain = configure("plain")
    grow(plain)
    rows = lines(plain.output_dir, "instructions.jsonl")
    first = rows[0]
    test = tmp_path / "test.jsonl"
    test.write_text(json.dumps({"question": f"{first['instruction'].upper()} {first['input']}", "answer": "x"}) + "\n")
    config = configure("apart", against=[str(test)])
    report = grow(config)
    assert report["rejected"]["contaminated"] == 1
    assert first["instruction"] not in {row["instruction"] for row in lines(config.output_dir, "instructions.jsonl")}


def test_outputs_copied_from_the_prompt_are_rejected(configure, monkeypatch) -> None:
    server = sys.modules["scripted_server"]
    plain = server.written

    def copying(asked: str, seed: int) -> str:
        shown = re.findall(r"^Output: (.+)$", asked, re.MULTILINE)
        return f"Input: none\nOutput: {shown[0]}" if shown and seed % 2 else plain(asked, seed)

    monkeypatch.setattr(server, "written", copying)
    config = configure()
    seeds = [json.loads(line) for line in Path(config.seed_file).read_text(encoding="utf-8").splitlines()]
    for one in seeds:
        one["instances"][0]["output"] = f"First of all, know that {one['id']} is old."
    Path(config.seed_file).write_text("".join(json.dumps(one) + "\n" for one in seeds), encoding="utf-8")
    report = grow(config)
    outputs = {one["instances"][0]["output"] for one in seeds}
    assert report["rejected"]["from_prompt"] > 0
    assert not outputs & {row["output"] for row in lines(config.output_dir, "instructions.jsonl")}
    rejected = lines(config.output_dir, "rejected.jsonl")
    assert {row["output"] for row in rejected if row["reason"] == "from_prompt"} <= outputs


def test_questions_about_documents_are_answered_from_them(configure, tmp_path) -> None:
    things = ["mill", "kite", "stove", "clock", "ferry", "moon"]
    text = "\n\n".join(
        f"Chapter {n}. The {things[n]} of the {things[n + 1]} was painted in the spring of {1900 + n} by the maker of "
        f"a distant {things[n + 2]}, who had learned the trade from two travellers and never wrote a word about it."
        for n in range(4)
    )
    document = tmp_path / "book.md"
    document.write_text(text, encoding="utf-8")
    config = configure(documents=[str(document)], wanted=4, rounds=20, passage_words=60)
    report = grow(config)
    rows, rejected = lines(config.output_dir, "instructions.jsonl"), lines(config.output_dir, "rejected.jsonl")
    assert report["accepted"] == 4
    assert report["rejected"]["unsupported"] > 0
    flat = " ".join(text.split())
    assert all(row["input"] in flat and row["output"].strip(".") in row["input"] for row in rows)
    assert all(row["provenance"]["source"] == str(document) for row in (*rows, *rejected))


def test_a_folder_of_other_settings_is_refused_and_kept_aside_when_fresh(configure) -> None:
    grow(configure(wanted=3))
    with pytest.raises(ArtifactError, match="rows made of other settings"):
        grow(configure(wanted=3, seed=1))
    said: list[str] = []
    grow(configure(wanted=3, seed=1), fresh=True, say=said.append)
    assert "kept in" in said[0]


def test_rows_of_the_users_own_are_never_written_over(configure, tmp_path, seeds) -> None:
    (tmp_path / "out").mkdir()
    rows = tmp_path / "out" / "instructions.jsonl"
    rows.write_bytes(Path(seeds).read_bytes())
    with pytest.raises(ConfigError, match="was not made by this command"):
        grow(configure())
    assert rows.read_bytes() == Path(seeds).read_bytes()


@pytest.mark.parametrize("style", ["chat", "continuation"])
def test_a_model_on_this_machine_draws_the_same_tokens_again(style, configure, tiny_models) -> None:
    folders = []
    for out in ("a", "b"):
        config = configure(out, model=str(tiny_models["llama"]), style=style, wanted=50, **TINY)
        report = grow(config)
        folders.append(config.output_dir)
        assert report["stopped_by"] == "rounds=2"
        assert report["asked"] >= 6
        assert report["tokens_written"] <= 20 * report["asked"]
    assert lines(folders[0], "rejected.jsonl") == lines(folders[1], "rejected.jsonl")
    assert without_times(folders[0]) == without_times(folders[1])
    texts = {one["text"] for line in lines(folders[0], "answers.jsonl")[1:2] for one in line["answers"]}
    assert len(texts) == 3, "each request draws by its own seed"


def test_an_encoder_does_not_write(configure, tiny_models) -> None:
    with pytest.raises(ConfigError, match="is of kind encoder, and instructions are written by a decoder"):
        grow(configure(model=str(tiny_models["bert"])))
