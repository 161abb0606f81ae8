from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from rung.errors import ArtifactError
from rung.ladder.store import read_ladder, read_run


@pytest.fixture
def run(made: ModuleType, tmp_path: Path) -> Path:
    folder = tmp_path / "lora"
    made.write_run(folder, made.RUNGS[5], made.LadderFolder(rows=60).test_rows())
    return folder


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        read_run(folder)
    return caught.value.what


def test_a_run_is_read_whole(run: Path) -> None:
    record = read_run(run)
    assert (record.model, record.method, record.run.seed) == ("smollm2-135m-instruct", "lora", 7)
    assert len(record.predictions) == 60
    assert record.history[-1].step == 125
    assert record.cost.trainable_parameters == 4_884_480
    assert record.metrics.forgetting is not None
    assert record.metrics.forgetting.change == 0.04


def test_a_control_has_no_model_and_no_history(made: ModuleType, tmp_path: Path) -> None:
    made.write_run(tmp_path, made.RUNGS[0], made.LadderFolder(rows=60).test_rows())
    (tmp_path / "history.jsonl").unlink()
    record = read_run(tmp_path)
    assert (record.model, record.method, record.history) == ("none", "majority", ())


def test_keys_of_a_newer_version_are_left_alone(run: Path) -> None:
    edit(run / "cost.json", joules=12.5)
    assert read_run(run).cost.train_seconds == 212.4


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere") == f"no run folder at {tmp_path / 'nowhere'}"


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "cost.json", "predictions.jsonl"])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    assert refused(run) == f"{run / name} is missing"


def test_another_format_is_refused(run: Path) -> None:
    edit(run / "run.json", format=2)
    assert refused(run) == f"{run / 'run.json'}: format=2"


def test_a_run_of_another_task_is_not_reported(run: Path) -> None:
    edit(run / "run.json", resolved={"task": {"type": "tagging"}})
    assert refused(run) == f"{run} is a run of task=tagging, which no report compares"


def test_a_run_json_that_is_a_list_is_refused(run: Path) -> None:
    (run / "run.json").write_text("[]")
    assert refused(run) == f"{run / 'run.json'}: format=None"


def test_a_cut_off_file_is_damaged(run: Path) -> None:
    (run / "metrics.json").write_text('{"test": {')
    assert refused(run).startswith(f"{run / 'metrics.json'}: not JSON: ")


def test_bytes_that_are_no_text_are_damaged(run: Path) -> None:
    (run / "cost.json").write_bytes(b'{"a\xff": 1}')
    assert refused(run) == f"{run / 'cost.json'}: not UTF-8 at byte 3"


def test_a_metric_that_is_nan_is_no_measurement(run: Path) -> None:
    (run / "cost.json").write_text('{"train_seconds": NaN}')
    assert refused(run) == f"{run / 'cost.json'}: NaN is not a measurement"


def test_a_number_too_large_for_a_float_is_refused(run: Path) -> None:
    (run / "cost.json").write_text('{"train_seconds": 1e999}')
    assert refused(run) == f"{run / 'cost.json'}: train_seconds: Input should be a finite number"


def test_a_value_of_the_wrong_type_is_placed(run: Path) -> None:
    edit(run / "cost.json", train_seconds="long")
    assert refused(run).startswith(f"{run / 'cost.json'}: train_seconds: Input should be a valid number")


@pytest.mark.hostile
def test_json_nested_too_deeply_is_refused(run: Path) -> None:
    (run / "cost.json").write_text("[" * 200_000)
    assert refused(run).startswith(f"{run / 'cost.json'}: n")


def test_predictions_that_were_cut_off_are_counted(run: Path) -> None:
    path = run / "predictions.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:41]))
    assert refused(run) == f"{path}: 41 rows, but run.json says 60 test rows"


def test_an_id_that_appears_twice_is_named(run: Path) -> None:
    path = run / "predictions.jsonl"
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*rows[:-1], rows[0]]))
    assert refused(run) == f"{path}:60: id='row-0' appears twice"


def test_an_unknown_label_is_named(run: Path) -> None:
    path = run / "predictions.jsonl"
    path.write_text(path.read_text().replace('"prediction": "praise"', '"prediction": "prase"', 1))
    assert refused(run).endswith("prediction='prase' is not a label of metrics.json")


def test_probabilities_must_match_the_labels(run: Path) -> None:
    path = run / "predictions.jsonl"
    path.write_text(path.read_text().replace('"probabilities": null', '"probabilities": [0.5, 0.5]', 1))
    assert refused(run) == f"{path}:1: 2 probabilities for 3 labels"


def test_an_answer_that_could_not_be_read_is_kept(run: Path) -> None:
    path = run / "predictions.jsonl"
    path.write_text(path.read_text().replace('"prediction": "billing"', '"prediction": null', 1))
    assert read_run(run).predictions[0].prediction is None


def test_a_ladder_keeps_its_order_and_reasons(finished: Path, made: ModuleType) -> None:
    ladder = read_ladder(finished)
    assert [rung.name for rung in ladder.rungs] == [rung.name for rung in made.RUNGS]
    assert [rung.status for rung in ladder.rungs[-2:]] == ["failed", "cut"]
    assert ladder.rungs[-1].reason == "budget=15m was spent before its turn"
    assert ladder.test["row-0"]["_source"] == "messages.csv:2"
    assert [point.rows for point in ladder.learning_curve["minilm-l6 full"]] == [250, 500, 1000, 2000]


def test_a_damaged_run_is_a_failed_rung_and_the_others_stand(made: ModuleType, tmp_path: Path) -> None:
    folder = made.LadderFolder(rungs=made.RUNGS[:2], rows=60).write(tmp_path)
    (folder / "runs" / "01-tfidf" / "cost.json").unlink()
    majority, tfidf = read_ladder(folder).rungs
    assert majority.status == "finished"
    assert (tfidf.status, tfidf.record) == ("failed", None)
    assert tfidf.reason == f"{folder / 'runs/01-tfidf/cost.json'} is missing"


def test_a_run_made_elsewhere_joins_last(made: ModuleType, tmp_path: Path) -> None:
    ladder = made.LadderFolder(rungs=made.RUNGS[:2], rows=60)
    folder = ladder.write(tmp_path)
    made.write_run(folder / "runs" / "from-the-cluster", made.RUNGS[7], ladder.test_rows())
    made.write_run(folder / "runs" / "namesake", made.RUNGS[1], ladder.test_rows())
    joined, namesake = read_ladder(folder).rungs[2:]
    assert (joined.name, joined.method, joined.order) == ("smollm2-135m-instruct full", "full", 2)
    assert joined.path == "runs/from-the-cluster"
    assert namesake.name == "runs/namesake"


def test_rung_names_must_be_unique(made: ModuleType, tmp_path: Path) -> None:
    folder = made.LadderFolder(rungs=(made.RUNGS[0], made.RUNGS[0]), rows=60).write(tmp_path)
    with pytest.raises(ArtifactError, match="two rungs are called 'majority'"):
        read_ladder(folder)


def test_a_learning_curve_is_checked(made: ModuleType, tmp_path: Path) -> None:
    folder = made.LadderFolder(rungs=(), rows=3, learning_curve={"lora": [{"rows": "all"}]}).write(tmp_path)
    with pytest.raises(ArtifactError, match=r"learning_curve\.json: lora\.0\.rows: "):
        read_ladder(folder)
