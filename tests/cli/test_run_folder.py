"""A finished run through the verbs that use it, and what is refused once somebody touched it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from rung.cli.app import main


def predictions_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def head(climbed, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of head_only, made by `rung train`, and the model it was made on: copy both before you touch them."""
    folder = tmp_path_factory.mktemp("head")
    shutil.copytree(climbed.models["bert"], folder / "bert")
    words = [str(climbed.data), "method=head_only", f"model={folder / 'bert'}", f"output_dir={folder / 'run'}"]
    assert main(["train", *words, "data.near_duplicates=false", "num_threads=1", "training.num_train_epochs=1"]) == 0
    return folder / "run", folder / "bert"


def test_another_process_gives_the_same_bytes(climbed, tmp_path: Path, cli):
    run, output = climbed.runs / "lora-bert", tmp_path / "answers.jsonl"
    done = cli("predict", run, climbed.out / "data" / "test.jsonl", "-o", output)
    assert done.returncode == 0, done.stderr
    expected = predictions_of(run)
    found = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["prediction"] for row in found] == [row["prediction"] for row in expected]
    assert [[row["probability_bad"], row["probability_good"]] for row in found] == [
        row["probabilities"] for row in expected
    ]
    assert done.stderr == f"{len(found)} rows predicted: {output}\n"


def test_a_prompted_run_gives_the_same_answers_as_csv(climbed, capsys):
    run = climbed.runs / "few_shot-llama"
    assert main(["predict", str(run), str(climbed.out / "data" / "test.jsonl")]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == ["text", "label", "prediction", "probability_bad", "probability_good"]
    assert [(row["prediction"], float(row["probability_bad"])) for row in rows] == [
        (row["prediction"], row["probabilities"][0]) for row in predictions_of(run)
    ]


def test_rows_through_a_pipe(climbed, cli):
    words = ["predict", climbed.runs / "majority", "-", "--format", "jsonl"]
    done = cli(*words, input="text,note\na joy,1\na bore,2\n")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == ["a joy", "a bore"]


def test_a_missing_column_is_named_with_its_nearest(climbed, tmp_path: Path, capsys):
    data = tmp_path / "in.csv"
    data.write_text("texts,label\na joy,good\n")
    assert main(["predict", str(climbed.runs / "majority"), str(data)]) == 2
    assert capsys.readouterr().err == (
        f"error: {data}:2: the run reads column 'text', which is not there. Did you mean to rename 'texts'?\n"
        "  Columns there: texts, label.\n"
    )


def test_scores_on_labelled_rows(climbed, tmp_path: Path, capsys):
    run, data = str(climbed.runs / "lora-bert"), str(climbed.out / "data" / "test.jsonl")
    assert main(["eval", run, data, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (
        scores["macro_f1"] == json.loads((climbed.runs / "lora-bert" / "metrics.json").read_text())["test"]["macro_f1"]
    )
    odd = tmp_path / "odd.csv"
    odd.write_text("text,label\na joy,odd\n")
    assert main(["eval", str(climbed.runs / "majority"), str(odd)]) == 2
    assert capsys.readouterr().err == (f"error: {odd}:2: its label is not one the run knows\n  Labels: bad, good.\n")


def test_every_golden_row_is_replayed(climbed, capsys):
    run = climbed.runs / "lora-bert"
    assert main(["doctor", str(run)]) == 0
    assert capsys.readouterr().out == f"{run}: every golden row is answered as it was.\n"
    assert main(["doctor", str(climbed.runs / "few_shot-llama"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []


def test_a_ladder_is_reported_again(place, capsys):
    assert main(["report", str(place.out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == place.report()
    assert main(["report", str(place.out), "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("| rung | model | macro-F1 (95 % interval) |")


def test_the_schema_of_a_ladder_names_its_settings(capsys):
    assert main(["config-schema", "ladder"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"data", "task", "models", "methods", "controls", "budget", "margin", "output_dir"} <= set(
        schema["properties"]
    )


def test_a_catalogue_model_has_a_path(minilm_path: Path, capsys):
    assert main(["models", "path", "minilm-l6"]) == 0
    assert capsys.readouterr().out == f"{minilm_path}\n"


def flip(path: Path) -> None:
    """One bit, in the last byte: the smallest of changes."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "head.safetensors", "golden.jsonl", "prompt.json"])
def test_a_changed_file_of_a_run_is_refused(place, name, capsys):
    path = place.runs / "lora-bert" / name
    flip(path)
    assert main(["predict", str(path.parent), str(place.data)]) == 2
    assert capsys.readouterr().err == (
        f"error: {path} was changed or damaged since the run was finished\n  Run again with --fresh.\n"
    )


def test_a_lost_file_of_a_run_is_refused(place, capsys):
    path = place.runs / "lora-bert" / "head.safetensors"
    path.unlink()
    assert main(["doctor", str(path.parent)]) == 2
    assert capsys.readouterr().err == f"error: {path} is missing\n  Copy the run's folder whole, or run again.\n"


def test_other_base_weights_are_refused(head, tmp_path: Path, capsys):
    run, model = _copied(head, tmp_path)
    flip(model / "model.safetensors")
    assert main(["doctor", str(run)]) == 2
    assert capsys.readouterr().err == (
        f"error: {run} was made on other weights of {model} than are there now\n"
        "  Point `model` to the weights it was made with.\n"
    )


def test_another_tokenizer_is_refused(head, tmp_path: Path, capsys):
    run, model = _copied(head, tmp_path)
    tokenizer = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["p"], vocabulary["f"] = vocabulary["f"], vocabulary["p"]
    words = {word: number for word, number in vocabulary.items() if len(word) == 1 or word[0] in "[#"}
    tokenizer["model"]["vocab"] = words
    (model / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    assert main(["doctor", str(run)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {run} does not answer as it did when it was made: golden row ")
    assert ": its token ids differ: the tokenizer or the template changed\n" in said


def test_an_unfinished_run_is_refused(climbed, tmp_path: Path, capsys):
    (tmp_path / "run").mkdir()
    assert main(["predict", str(tmp_path / "run"), str(climbed.data)]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'run'} holds no finished run (no run.json)\n  Give the output_dir of a run.\n"
    )


def _copied(head: tuple[Path, Path], folder: Path) -> tuple[Path, Path]:
    """The run and its model in another place, the run pointing to it."""
    run, model = (Path(shutil.copytree(path, folder / path.name)) for path in head)
    settings = json.loads((run / "run.json").read_text(encoding="utf-8"))
    settings["resolved"]["model"] = str(model)
    (run / "run.json").write_text(json.dumps(settings), encoding="utf-8")
    return run, model
